"""Which faults are played together, when, under which load and on which sandbox: the whole of `make score` from one seed. Pure.

Every single fault under two loads, in both modes where it acts; forty pairs and twenty triples that cover as many combinations as they
can; and runs without faults in which something else is wrong.
"""

import itertools
import random
import zlib
from dataclasses import dataclass, field, replace
from typing import Any

LOW, HIGH = "below the limit", "beyond the limit"
SINGLE, PAIR, TRIPLE, OTHER = "single", "pair", "triple", "other"


@dataclass(frozen=True)
class Act:
    """How one fault is played here."""

    group: str
    """Faults of one group touch the same things, or wait for their effect through what the other takes away: never played together."""
    hold_s: int = 8
    rest_s: int = 12
    """How long it is waited for afterwards."""
    settings: tuple[tuple[str, str], ...] = ()
    modes: tuple[str, ...] = ("seed", "field")
    """Where it makes anything fail."""
    loads: tuple[str, ...] = (LOW, HIGH)
    first: bool = False
    """It needs a system that is well to go in: it comes before the others."""
    last: bool = False
    """It takes the API away: it comes after the others and goes before them."""


ACTS: dict[str, Act] = {
    "cordon-worker": Act("nodes", settings=(("nodes", "all"),)),
    "drain-worker": Act("nodes", 10, 14, (("nodes", "all"),)),
    "worker-not-ready": Act("nodes api", 20, 24, (("nodes", "1"),), loads=(HIGH,)),
    "worker-crash": Act("nodes api", 16, 24, (("nodes", "1"),)),
    "kill-mongo": Act("mongodb", 8, 14, modes=("seed",)),
    "mongo-outage": Act("mongodb", 8, 14),
    "mongo-stall": Act("mongodb", 8, 12),
    "mongo-slow": Act("mongodb", 8, 14, (("delay_ms", "1500"),), modes=("seed",)),
    "saturate-gpu": Act("shares", settings=(("fill", "100%"),), first=True),
    "exhaust-pod-ips": Act("shares api", 18, 16, (("nodes", "all"),), first=True),
    "kill-focus-server": Act("focus_server", 8, 14),
    "focus-server-outage": Act("focus_server", 8, 14),
    "focus-server-crash-loop": Act("focus_server", 12, 16),
    "focus-restart-without-mongo": Act("focus_server mongodb", 12, 16),
    "revoke-kubernetes-access": Act("rights"),
    "api-server-slow": Act("api", settings=(("delay", "2s"),), modes=("seed",), last=True),
    "api-server-down": Act("api", 8, 14, last=True),
    "fill-windows": Act(
        "windows broker", 14, 20, (("windows", "14"),), modes=("seed",), loads=(LOW,), first=True
    ),
    "kill-streams": Act("windows", 4, 10, (("share", "50%"),), first=True),
    "slow-network": Act("network", 6, 16, (("nodes", "all"), ("delay", "200ms")), loads=(LOW,)),
    "drop-network": Act("network", 14, 24, (("nodes", "all"),)),
    "rabbitmq-outage": Act("broker", 12, 24),
    "starve-feed": Act("feed", 14, 16),
    "waiting-for-fibre": Act("focus_server feed", 10, 16),
    "block-cleanup": Act("cleanup", 16, 22, loads=(HIGH,)),
}
NEEDS_BROKER = ("rabbitmq-outage",)
MILD = ("slow-network",)
"""Faults that make nothing fail by themselves: played once, to see that nothing is blamed on them."""


@dataclass(frozen=True)
class Window:
    """One stretch of a run in which some faults are in."""

    at_s: int
    faults: tuple[str, ...]
    kind: str
    held_s: int = 0
    """How long they are held, if not for as long as usual."""
    settings: tuple[tuple[str, str], ...] = ()
    """Their settings, if not the usual ones."""

    @property
    def hold_s(self) -> int:
        """Return how long the longest of them is held."""
        return self.held_s or max(ACTS[fault].hold_s for fault in self.faults)

    @property
    def over_s(self) -> int:
        """Return when the next window may begin."""
        return self.at_s + self.hold_s + max(ACTS[fault].rest_s for fault in self.faults) + STAGGER_S


STAGGER_S = 3


@dataclass(frozen=True)
class Run:
    """One campaign on a sandbox of its own."""

    name: str
    mode: str
    load: str
    seed: int
    windows: tuple[Window, ...] = ()
    trick: str = ""
    """What is done beside the campaign: see `play.TRICKS`."""
    options: tuple[tuple[str, str], ...] = ()
    """Settings of its sandbox beside the drawn ones."""
    extra: tuple[tuple[str, object], ...] = field(default=())
    """Keys of its load beside the usual ones."""
    lasts_s: int = 30
    """How long it goes on after its first seconds where it has no windows."""

    @property
    def duration_s(self) -> int:
        """Return how long its load goes on."""
        return max((window.over_s for window in self.windows), default=FIRST_S + self.lasts_s)


MORE = {"kill-streams": (("share", "100%"),)}
"""Settings of a fault that comes again and again."""
FIRST_S = 14
LONGEST_S = 760
"""A run is cut into pieces of about this length."""


def plan(seed: int, *, broker: bool = True) -> list[Run]:
    """Return all runs of a seed."""
    acts = {name: act for name, act in ACTS.items() if broker or name not in NEEDS_BROKER}
    chance = random.Random(seed)
    runs: list[Run] = []
    for mode, load in itertools.product(("seed", "field"), (LOW, HIGH)):
        singles = [(name,) for name, act in acts.items() if mode in act.modes and load in act.loads]
        chance.shuffle(singles)
        runs += _cut(f"single-{mode}-{_short(load)}", mode, load, seed, singles, SINGLE)
    for kind, size, count in ((PAIR, 2, 40), (TRIPLE, 3, 20)):
        chosen = covering(acts, size, count, chance)
        for load, some in by_load(acts, chosen).items():
            runs += _cut(f"{kind}-{_short(load)}", "seed", load, seed, some, kind)
    return runs + others(seed)


def rest_of(run: Run, after: int) -> Run | None:
    """Return what is left of a run that ended early: the windows after the first `after`, from its beginning; None if there are none."""
    left = run.windows[after:]
    if not left:
        return None
    shift_s = left[0].at_s - FIRST_S
    moved = tuple(replace(window, at_s=window.at_s - shift_s) for window in left)
    return replace(run, name=f"{run.name}-rest", seed=run.seed + 1, windows=moved)


def others(seed: int) -> list[Run]:
    """Return the runs in which no fault of ours is what is wrong, or somebody is blind, or many windows are not served."""
    blind = [("mongo-outage",), ("cordon-worker",), ("saturate-gpu",), ("kill-focus-server",)]
    missing = [("mongo-stall",), ("mongo-outage",), ("cordon-worker",)]
    unserved = [("cordon-worker",), ("saturate-gpu",), ("drop-network",)]
    keen, patient = {"after_refusal": "700ms"}, {"hold": {"min": "20s", "max": "30s"}}
    some = {"hold": {"min": "4s", "max": "8s"}}
    roomy = {"gpu_shares": "100"}
    quick = roomy | {"ready_delay_s": "0.4", "ready_delay_median_s": "0.5", "ready_delay_p95_s": "0.8"}
    return [
        _other("whim", "seed", seed, 50, load=keen | some, options={"whim_share": "0.7"}),
        _other("overload", "field", seed, 90, users=40, load={"creates_in_flight": 20}),
        _other(
            "invalid",
            "seed",
            seed,
            26,
            load={"request": {"nfftSelection": 1000}},
            options={"strict_validation": "true"},
        ),
        _other(
            "no-recording",
            "field",
            seed,
            75,
            load={"historic_share": 1.0},
            options={"historic_index_delay_s": "100000"},
        ),
        _other("misdirected", "seed", seed, 110, users=8, options=quick | {"misdirected_share": "0.9"}),
        _other("outside", "seed", seed, 160, users=24, load=keen | some, trick="outside"),
        _other(
            "unopened",
            "field",
            seed,
            130,
            users=24,
            options=quick | {"never_ready_share": "0.9"},
            trick="impatient",
        ),
        _other(
            "unready",
            "field",
            seed,
            130,
            users=24,
            options=quick | {"silent_share": "0.95", "cleanup_low_readings": "4"},
            trick="impatient",
        ),
        *_cut("missing", "seed", LOW, seed, missing, OTHER, trick="missing"),
        *_cut("frozen-low", "seed", LOW, seed, blind, OTHER, trick="frozen"),
        *_cut("frozen-high", "seed", HIGH, seed, blind, OTHER, trick="frozen"),
        *_cut("unserved", "field", LOW, seed, unserved, OTHER, trick="impatient"),
        _again("killed", "field", seed, ("kill-streams", 4, 26), 4, 40, options=roomy, load=patient),
        _again("exhausted", "field", seed, ("exhaust-pod-ips", 44, 18), 2, 30, options=quick),
        _again(
            "starved",
            "field",
            seed,
            ("starve-feed", 48, 16),
            2,
            40,
            options=roomy | {"cleanup_low_readings": "4", "cleanup_period_s": "1.5"},
            load=patient,
        ),
        _again(
            "starting",
            "seed",
            seed,
            ("kill-focus-server", 8, 13),
            10,
            24,
            options={"sync_delay_s": f"{random.Random(seed).uniform(5, 7):.3g}"},
            load={"after_refusal": "300ms", "creates_in_flight": 24, **patient},
        ),
    ]


def _other(
    name: str,
    mode: str,
    seed: int,
    lasts_s: int,
    *,
    users: int = 12,
    load: dict[str, object] | None = None,
    options: dict[str, str] | None = None,
    trick: str = "",
) -> Run:
    """Return a run without a fault of ours."""
    return Run(name, mode, LOW, seed, (), trick, _pairs(options), _load(users, load), lasts_s)


def _again(
    name: str,
    mode: str,
    seed: int,
    fault: tuple[str, int, int],
    times: int,
    users: int,
    *,
    options: dict[str, str],
    load: dict[str, object] | None = None,
) -> Run:
    """Return a run in which one fault (its name, how long it is held, and for how long not) comes several times."""
    experiment, hold_s, rest_s = fault
    windows = tuple(
        Window(FIRST_S + (hold_s + rest_s) * turn, (experiment,), OTHER, hold_s, MORE.get(experiment, ()))
        for turn in range(times)
    )
    trick = "impatient" if experiment == "exhaust-pod-ips" else "roomy"
    return Run(name, mode, LOW, seed, windows, trick, _pairs(options), _load(users, load))


def _load(users: int, more: dict[str, object] | None) -> tuple[tuple[str, object], ...]:
    short = {"hold": {"min": "1s", "max": "2s"}}
    return _pairs({"stages": [{"at": "0s", "open_windows": users}], **short, **(more or {})})


def _pairs(values: dict[str, Any] | None) -> tuple[tuple[str, Any], ...]:
    return tuple((values or {}).items())


def covering(acts: dict[str, Act], size: int, count: int, chance: random.Random) -> list[tuple[str, ...]]:
    """Return `count` combinations of faults that can be in together; each fault comes about as often as any other."""
    names = [name for name, act in acts.items() if "seed" in act.modes and name not in MILD]
    possible = [
        combination for combination in itertools.combinations(names, size) if together(acts, combination)
    ]
    chance.shuffle(possible)
    used: dict[str, int] = dict.fromkeys(names, 0)
    chosen: list[tuple[str, ...]] = []
    while possible and len(chosen) < count:
        best = min(
            possible, key=lambda combination: sorted((used[name] for name in combination), reverse=True)
        )
        possible.remove(best)
        chosen.append(best)
        for name in best:
            used[name] += 1
    return chosen


def by_load(acts: dict[str, Act], chosen: list[tuple[str, ...]]) -> dict[str, list[tuple[str, ...]]]:
    """Give half of the combinations to either load, and those that want one theirs; below the limit every fault can go in."""
    loads: dict[str, list[tuple[str, ...]]] = {LOW: [], HIGH: []}
    for combination in chosen:
        wanted = [load for load in loads if all(load in acts[fault].loads for fault in combination)]
        load = min(wanted or [LOW], key=lambda load: len(loads[load]))
        loads[load].append(combination)
    return loads


def together(acts: dict[str, Act], faults: tuple[str, ...]) -> bool:
    """Return whether faults can be in at once: none touches what another does."""
    groups = [group for fault in faults for group in acts[fault].group.split()]
    return len(groups) == len(set(groups))


def _cut(
    name: str,
    mode: str,
    load: str,
    seed: int,
    combinations: list[tuple[str, ...]],
    kind: str,
    trick: str = "",
) -> list[Run]:
    runs: list[Run] = []
    windows: list[Window] = []
    at_s = FIRST_S
    for faults in combinations:
        window = Window(at_s, faults, kind)
        if windows and window.over_s > LONGEST_S:
            runs.append(_run(name, len(runs), mode, load, seed, windows, trick))
            windows, window = [], Window(FIRST_S, faults, kind)
        windows.append(window)
        at_s = window.over_s
    if windows:
        runs.append(_run(name, len(runs), mode, load, seed, windows, trick))
    return runs


def _run(name: str, number: int, mode: str, load: str, seed: int, windows: list[Window], trick: str) -> Run:
    full = f"{name}-{number + 1}"
    own = zlib.crc32(f"{seed} {full} {load}".encode())
    return Run(full, mode, load, own, tuple(windows), trick)


def _short(load: str) -> str:
    return load.split(" ", 1)[0]
