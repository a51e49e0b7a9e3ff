"""What every fault promises: each a function from what was seen in a trial to what is wrong with it, in words. Pure."""

from collections.abc import Callable, Iterator

from harness.contract.trial import Trial
from harness.errors import Exit
from harness.history.events import FaultStep

Promise = Callable[[Trial], Iterator[str]]
INSTANTS = (
    FaultStep.OPENED,
    FaultStep.INJECTED,
    FaultStep.EFFECTIVE,
    FaultStep.UNDONE,
    FaultStep.VERIFIED,
)
SLACK_S = 2.0
"""Two looks a second apart, and a little."""


def it_can_be_tried(trial: Trial) -> Iterator[str]:
    """It does not refuse a sound target, and nothing in it raises what it should not."""
    if trial.error:
        yield trial.error + (f" (no window could be opened: {trial.no_windows})" if trial.no_windows else "")


def reading_changes_nothing(trial: Trial) -> Iterator[str]:
    """`look`, `describe`, `rights`, `touched`, `mend`, `is_active` and `obstacle` only read."""
    yield from (f"a verb that only reads did: {asked}" for asked in trial.by_looking)


def the_journal_remembers(trial: Trial) -> Iterator[str]:
    """Arguments and state before survive being written down: whoever undoes has nothing else."""
    yield from (f"{name} is another after the journal" for name in trial.forgets)


def it_names_its_rights(trial: Trial) -> Iterator[str]:
    """Everything it asks of the API is in `rights`, or preflight would not find it missing."""
    yield from (f"{right} is used, and not in `rights`" for right in trial.without_right)


def undo_without_injection_changes_nothing(trial: Trial) -> Iterator[str]:
    """A crash between the entry and the injection is undone all the same."""
    yield from trial.idle


def a_late_request_does_not_last(trial: Trial) -> Iterator[str]:
    """A process that stood still while its entry was undone changes nothing when it goes on."""
    yield from trial.late


def it_becomes_effective(trial: Trial) -> Iterator[str]:
    """`is_active` sees the effect, within twice the time the signature names."""
    took_s = trial.took_s(FaultStep.INJECTED, FaultStep.EFFECTIVE)
    limit_s = 2 * trial.fault.signature.within_s + SLACK_S
    if took_s is None or not trial.active:
        yield "is_active does not say so"
    elif took_s > limit_s:
        yield f"effective after {took_s:.1f} s; within_s is {trial.fault.signature.within_s:g}"


def what_it_touches_is_marked(trial: Trial) -> Iterator[str]:
    """What it changed or made says so, and `harness undo --sweep` finds it."""
    yield from trial.unmarked


def undo_is_verified(trial: Trial) -> Iterator[str]:
    """`reading` sees no difference twice, within twice the time the signature names."""
    took_s = trial.took_s(FaultStep.UNDONE, FaultStep.VERIFIED)
    limit_s = 2 * trial.fault.signature.gone_within_s + SLACK_S
    if took_s is None or not trial.verified:
        yield f"not verified: {trial.problem}"
    elif took_s > limit_s:
        yield f"verified after {took_s:.1f} s; gone_within_s is {trial.fault.signature.gone_within_s:g}"


def undo_brings_the_declared_state_back(trial: Trial) -> Iterator[str]:
    """Once it is verified, the declared state is as it was before."""
    yield from trial.undone


def undoing_twice_changes_nothing(trial: Trial) -> Iterator[str]:
    """Undo is safe to repeat."""
    yield from trial.undone_twice


def nothing_is_left(trial: Trial) -> Iterator[str]:
    """No mark, no object, no entry in the cluster."""
    yield from (f"{what} is left" for what in trial.left)


def timers_are_disarmed(trial: Trial) -> Iterator[str]:
    """No timer of a hand waits for a fault that is over."""
    yield from (f"still armed: {timer}" for timer in trial.armed)


def its_instants_are_recorded(trial: Trial) -> Iterator[str]:
    """Opened, injected, effective, undone, verified: each once, in this order, and the play ends well."""
    if tuple(trial.steps) != INSTANTS:
        yield f"recorded: {', '.join(trial.steps)}"
    if trial.ended != Exit.OK:
        yield f"the play ended with {trial.ended}"


PROMISES: tuple[Promise, ...] = (
    it_can_be_tried,
    reading_changes_nothing,
    the_journal_remembers,
    it_names_its_rights,
    undo_without_injection_changes_nothing,
    a_late_request_does_not_last,
    it_becomes_effective,
    what_it_touches_is_marked,
    undo_is_verified,
    undo_brings_the_declared_state_back,
    undoing_twice_changes_nothing,
    nothing_is_left,
    timers_are_disarmed,
    its_instants_are_recorded,
)


def broken(trial: Trial) -> list[str]:
    """Return in words every promise that was broken; after an error nothing but the error is known."""
    judged = PROMISES[:1] if trial.error else PROMISES
    return [
        f"{trial.fault.kind}: {promise.__name__}: {text}" for promise in judged for text in promise(trial)
    ]
