"""The reverter: a pod in the cluster that undoes faults when nobody outside is left to do it.

`harness reverter run`, deployed by `harness reverter install` (deploy/reverter.yaml). It reads the entries that injectors write into our
namespace, and the Lease that a run renews as it makes progress. An entry is due when the Lease has not been seen to change for
`LAPSE_S` by the reverter's own clock, or when the entry's longest hold is over. Time in which it could not see counts for
nothing. It injects nothing, and leaves alone what cannot be undone by API calls.
"""

import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from harness import __version__
from harness.chaos.copies import copies
from harness.chaos.faults import fault_named, faults_outside
from harness.chaos.journal import Entry, Header, Journal, Opened
from harness.chaos.replay import replay
from harness.chaos.world import Site, thaw
from harness.cluster import Cluster, Missing, Object, connect_inside, name_of, version_of
from harness.cluster.kinds import annotations_of
from harness.cluster.lease import LEASE_NAME, RUN_ANNOTATION
from harness.errors import Exit, HarnessError
from harness.history.events import FaultStep
from harness.target import Target

LAPSE_S = 6.0
POLL_S = 0.5
SPARE_S = 1.0
"""At `max_hold` the guard comes first."""
TEST_LABEL = "focus-harness/test"
NEEDS_ANNOTATION = "focus-harness/needs"
ANSWER_ANNOTATION = "focus-harness/answer"


@dataclass(slots=True)
class Watch:
    """When something is due, by one clock alone. Pure: it is told what was seen, and when."""

    lapse_s: float = LAPSE_S
    _token: str | None = None
    _run: str = ""
    _since: float | None = None
    """Since when the Lease looks as it does."""
    _first: dict[str, float] = field(default_factory=dict)
    """When each entry was seen for the first time."""
    _strange: dict[str, float] = field(default_factory=dict)
    """Since when the Lease is another run's than the entry's."""

    def blind(self) -> None:
        """Take note that nothing could be seen: what did not change meanwhile says nothing."""
        self._token, self._since = None, None
        self._strange.clear()

    def saw(
        self, now: float, token: str, run: str, entries: Mapping[str, tuple[str, float]]
    ) -> dict[str, str]:
        """Take note of the Lease (`token` changes whenever it does) and the entries, each with its run and longest hold.

        Returns which are due, and why.
        """
        if token != self._token or self._since is None:
            self._token, self._since = token, now
        self._first = {entry: self._first.get(entry, now) for entry in entries}
        strange = {entry for entry, (of, _) in entries.items() if run and of != run}
        self._strange = {entry: self._strange.get(entry, now) for entry in strange}
        due: dict[str, str] = {}
        for entry, (_, hold_s) in entries.items():
            still_s = now - self._since
            if still_s > self.lapse_s and now - self._first[entry] > self.lapse_s:
                due[entry] = f"the Lease has not changed for {still_s:.1f} s"
            elif now - self._first[entry] > hold_s + SPARE_S:
                due[entry] = f"its longest hold of {hold_s:g} s is over"
            elif entry in self._strange and now - self._strange[entry] > self.lapse_s:
                due[entry] = f"the Lease is another run's ({run})"
        return due


class Reverter:
    """The process: looks, and undoes what is due."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._watch = Watch()
        self._tests: dict[str, tuple[str, float]] = {}
        self._scratch = tempfile.TemporaryDirectory(prefix="reverter-")
        self.stop = threading.Event()

    def run(self) -> Exit:
        """Look until told to stop; a cluster that does not answer is waited for."""
        self._say("watching")
        seeing = True
        while not self.stop.wait(POLL_S):
            try:
                self.look(time.monotonic())
                if not seeing:
                    self._say("the API server answers again")
                seeing = True
            except Exception as error:  # whatever it is: a reverter that ends undoes nothing
                self._watch.blind()
                self._tests.clear()
                if seeing:
                    self._say(f"cannot see: {type(error).__name__}: {error}")
                seeing = False
        self._say("told to end")
        return Exit.OK

    def look(self, now: float) -> None:
        """Look once: answer tests, undo what is due."""
        lease = self._cluster.find("leases", LEASE_NAME, self._cluster.harness_namespace)
        found = {
            entry.id: (header, entry)
            for header, entry in copies(Site(self._cluster, _anything(self._cluster)))
        }
        token, run = (
            ("gone", "")
            if lease is None
            else (version_of(lease), annotations_of(lease).get(RUN_ANNOTATION, ""))
        )
        held = bool(lease and lease["spec"].get("holderIdentity"))
        entries = {key: (header.run_id, _hold_s(entry)) for key, (header, entry) in found.items()}
        due = self._watch.saw(now, token, run if held else "", entries)
        if due:
            self._undo({key: found[key] for key in due}, due)
        self._answer_tests(now)

    def _undo(self, entries: Mapping[str, tuple[Header, Entry]], why: Mapping[str, str]) -> None:
        journals: list[Journal] = []
        sites: dict[Path, Site] = {}
        for key, (header, entry) in entries.items():
            try:
                target = thaw(header.target)
                if not fault_named(entry.fault, target.faults).undone_inside:
                    continue  # its timer, the guard or a person
            except (HarnessError, ValueError) as error:  # of another version: the others must still be undone
                self._say(f"{key} cannot be read: {error}")
                continue
            self._say(f"{entry.fault} on {entry.what} (run {header.run_id}): {why[key]}")
            path = Path(self._scratch.name) / f"{key}-{time.monotonic_ns()}.jsonl"
            journal = Journal.create(path, header)
            journal.append(Opened(entry=entry))
            journals.append(journal)
            sites[path] = Site(self._cluster.seen_as(target.kubernetes), target)  # type: ignore[arg-type]
        for ending in replay(journals, lambda journal: sites[journal.path], "reverter", self._tell):
            self._say(str(ending))
        for journal in journals:
            journal.path.unlink(missing_ok=True)
            journal.path.with_suffix(".lock").unlink(missing_ok=True)

    def _tell(self, entry: Entry, step: FaultStep, detail: str) -> None:
        self._say(f"{entry.id}: {step.value} {detail}".rstrip())

    def _answer_tests(self, now: float) -> None:
        """Answer every test Lease that has not changed for as long as it says, as a run's own would be found out."""
        namespace = self._cluster.harness_namespace
        tests = [
            lease
            for lease in self._cluster.objects("leases", namespace, TEST_LABEL)
            if ANSWER_ANNOTATION not in annotations_of(lease)
        ]
        self._tests = {
            name_of(lease): self._tests.get(name_of(lease), ("", now))
            if self._tests.get(name_of(lease), ("",))[0] == version_of(lease)
            else (version_of(lease), now)
            for lease in tests
        }
        for lease in tests:
            lapse_s = float(lease["spec"].get("leaseDurationSeconds") or 1)
            if now - self._tests[name_of(lease)][1] >= lapse_s:
                patch = {"metadata": {"annotations": {ANSWER_ANNOTATION: _answer(lease)}}}
                try:
                    self._cluster.patch("leases", name_of(lease), patch, namespace)
                except Missing:
                    continue  # whoever asked has gone

    def _say(self, text: str) -> None:
        print(f"{datetime.now(UTC):%H:%M:%S.%f} {text}", flush=True)  # noqa: T201  (its log)


def _answer(lease: Object) -> str:
    try:
        faults_outside(json.loads(annotations_of(lease).get(NEEDS_ANNOTATION, "[]")))
    except (HarnessError, ValueError) as error:
        return f"no: {error}"
    return f"ok {__version__}"


def _hold_s(entry: Entry) -> float:
    return (entry.expires_ns - entry.opened_ns) / 1e9


def _anything(cluster: Cluster) -> Target:
    """Return a target that is good enough to find entries: only our namespace matters."""
    kube = {"kubeconfig": "-", "identity": "-", "harness_namespace": cluster.harness_namespace, "roles": {}}
    return Target.model_validate(
        {"schema": 1, "name": "inside", "url": "", "kube": kube, "max_windows": "unknown"}
    )


def run_reverter(namespace: str) -> Exit:
    """Be the reverter of the cluster this process runs in, whose harness' namespace is `namespace`, until SIGTERM."""
    cluster = connect_inside(namespace)
    cluster.be_brisk()
    reverter = Reverter(cluster)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: reverter.stop.set())
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        return reverter.run()
    finally:
        cluster.close()
