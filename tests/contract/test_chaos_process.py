"""The chaos process and the guard as real processes, played as the conductor plays them, on a real API server process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.chaos import Alive, Guard, preflight, rehearse, undo_command
from harness.chaos.faults import fault_named
from harness.chaos.faults.cordon_worker import CordonArguments
from harness.chaos.journal import Journal, new_header
from harness.chaos.play import Play
from harness.chaos.registry import register
from harness.chaos.world import Site, freeze
from harness.clock import SystemClock, nanoseconds
from harness.cluster import Lease
from harness.errors import AccessDenied, Exit, InputError, TargetBusy, TargetError
from harness.history.reader import read_history
from harness.history.run import RunInfo, write_run
from harness.history.writer import HistoryWriter
from tests.lone_plane import ROOT, LonePlane, events

CORDON = ROOT / "experiments" / "cordon-worker.yaml"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LonePlane]:
    plane = LonePlane(tmp_path_factory.mktemp("plane"))
    yield plane
    plane.stop()


class Chaos:
    """`python -m harness.chaos`, as the conductor starts it."""

    def __init__(self, plane: LonePlane, run: Path, *arguments: str, at_s: float = 0.0) -> None:
        run.mkdir(exist_ok=True)
        self.run, self.plane = run, plane
        self.clock = SystemClock.start()
        self.at_ns = nanoseconds(at_s)
        lifeline, self.lifeline = os.pipe()
        environment = plane.environment(HARNESS_LIFELINE_FD=str(lifeline), **self.clock.environment())
        command = [sys.executable, "-m", "harness.chaos", "--experiment", str(CORDON), "--run", str(run)]
        command += ["--target", str(plane.target_file), "--writer", "chaos-1", "--at-ns", str(self.at_ns)]
        self.log = run / "chaos.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *arguments], env=environment, pass_fds=(lifeline,), stdout=log, stderr=log
            )
        os.close(lifeline)

    def until_effective(self) -> None:
        until(lambda: "effective" in self.steps(), 30, self.log.read_text)

    def steps(self) -> list[str]:
        return [event["step"] for event in self.events() if event["kind"] == "fault_changed"]

    def events(self) -> list[dict[str, object]]:
        return events(self.run) if (self.run / "history").is_dir() else []

    def end(self) -> int:
        code = self.process.wait(timeout=40)
        if self.lifeline >= 0:
            os.close(self.lifeline)
        return code

    def cut_lifeline(self) -> None:
        os.close(self.lifeline)
        self.lifeline = -1


def until(true: Callable[[], bool], within_s: float, why: Callable[[], str]) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)


def test_an_experiment_is_played_at_its_instant_held_and_undone(plane: LonePlane, tmp_path: Path) -> None:
    chaos = Chaos(plane, tmp_path / "run", "--set", "nodes=worker-node-2", "--hold", "0.5", at_s=3.0)
    assert chaos.end() == 0, chaos.log.read_text()
    steps = ["opened", "injected", "effective", "undone", "verified"]
    assert chaos.steps() == steps
    at_s = {
        event["step"]: event["at_ns"] / 1e9 for event in chaos.events() if event["kind"] == "fault_changed"
    }  # type: ignore[operator]
    assert at_s["opened"] >= 3.0
    assert 3.5 <= at_s["undone"] <= at_s["verified"] - 1.0
    ended = chaos.events()[-1]
    assert (ended["kind"], ended["experiment"], ended["status"], ended["deviated"]) == (
        "experiment_ended", "cordon-worker", "completed", False,
    )  # fmt: skip
    assert read_history(chaos.run / "history").damage == ()
    assert plane.cordoned() == []
    assert preflight(plane.target, plane.cluster, [CORDON]) is None


@pytest.mark.parametrize("how", ["SIGTERM", "the conductor dies"])
def test_stopped_from_outside_it_undoes_and_ends_with_8(plane: LonePlane, tmp_path: Path, how: str) -> None:
    chaos = Chaos(plane, tmp_path / "run", "--set", "nodes=all", "--hold", "60")
    chaos.until_effective()
    assert plane.cordoned() == ["worker-node", "worker-node-2"]
    if how == "SIGTERM":
        chaos.process.send_signal(signal.SIGTERM)
    else:
        chaos.cut_lifeline()
    assert chaos.end() == Exit.STOPPED, chaos.log.read_text()
    assert plane.cordoned() == []
    assert chaos.steps()[-1] == "verified"


def test_stopped_before_its_instant_nothing_is_injected(plane: LonePlane, tmp_path: Path) -> None:
    chaos = Chaos(plane, tmp_path / "run", "--set", "nodes=all", "--hold", "5", at_s=60.0)
    until((tmp_path / "run" / "undo" / "chaos-1.jsonl").exists, 30, chaos.log.read_text)
    time.sleep(0.5)
    chaos.process.send_signal(signal.SIGTERM)
    assert chaos.end() == Exit.STOPPED, chaos.log.read_text()
    assert chaos.steps() == []
    assert chaos.events()[-1]["status"] == "interrupted"


def test_what_is_not_steady_before_is_not_injected(plane: LonePlane, tmp_path: Path) -> None:
    plane.status("deployments", "focus-server", {"replicas": 1, "readyReplicas": 0})
    try:
        chaos = Chaos(plane, tmp_path / "run", "--set", "nodes=all", "--hold", "5")
        assert chaos.end() == Exit.UNJUDGED, chaos.log.read_text()
    finally:
        plane.status("deployments", "focus-server", {"replicas": 1, "readyReplicas": 1})
    assert chaos.steps() == []
    assert chaos.events()[-1]["status"] == "not-injected"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--set", "node=all"), Exit.USAGE, "unknown parameter 'node'; did you mean 'nodes'?"),
        (("--set", "nodes=worker-9"), Exit.USAGE, "no such worker; workers here: worker-node, worker-node-2"),
        (("--set", "nodes=all", "--hold", "9999"), Exit.TARGET, "the target allows 600 s"),
    ],
)
def test_bad_parameters_are_refused_and_nothing_is_injected(
    plane: LonePlane, tmp_path: Path, arguments: tuple[str, ...], code: Exit, message: str
) -> None:
    chaos = Chaos(plane, tmp_path / "run", *arguments)
    assert chaos.end() == code, chaos.log.read_text()
    notes = [str(event.get("text")) for event in chaos.events() if event["kind"] == "note"]
    assert any(message in note for note in notes), notes
    assert plane.cordoned() == []


class InProcess:
    """A play in this process, so that the test can stop doing what a healthy one does."""

    def __init__(self, plane: LonePlane, run: Path) -> None:
        self.clock = SystemClock.start()
        header = new_header(run.name, "chaos-1", freeze(plane.target), self.clock.start_ns)
        self.journal = Journal.create(run / "undo" / "chaos-1.jsonl", header)
        register(self.journal)
        self.history = HistoryWriter(run / "history", "chaos-1")
        site = Site(plane.cluster, plane.target)
        self.play = Play(site, header, self.journal, self.history, self.clock, "test")

    def cordon(self, hold_s: float = 60.0) -> None:
        self.play.begin(fault_named("cordon-worker"), CordonArguments(nodes="all"), hold_s)


@pytest.fixture
def in_process(plane: LonePlane, tmp_path: Path, state_home: Path) -> Iterator[InProcess]:
    made = InProcess(plane, tmp_path / "run")
    yield made
    made.history.close()


def test_a_ward_that_makes_no_progress_counts_as_dead(
    plane: LonePlane, tmp_path: Path, in_process: InProcess
) -> None:
    alive = Alive(tmp_path / "run" / "undo", "conductor")
    guard = Guard.start(tmp_path / "run", plane.target, in_process.clock, ward="conductor")
    in_process.cordon()
    for _ in range(25):  # for longer than a hang may last
        alive.beat()
        time.sleep(0.2)
    assert len(plane.cordoned()) == 2
    until(lambda: not plane.cordoned(), 15, lambda: "the guard did not undo")
    alive.close()
    assert guard.release() == 0
    notes = [str(event.get("text", "")) for event in events(tmp_path / "run")]
    assert any("conductor made no progress for" in note for note in notes)


def test_a_chaos_process_that_stands_still_is_undone_and_injects_nothing_when_it_goes_on(
    plane: LonePlane, tmp_path: Path
) -> None:
    chaos = Chaos(plane, tmp_path / "run", "--set", "nodes=all", "--hold", "60")
    guard = Guard.start(tmp_path / "run", plane.target, chaos.clock)
    chaos.until_effective()
    chaos.process.send_signal(signal.SIGSTOP)
    until(lambda: not plane.cordoned(), 15, lambda: "the guard did not undo")
    chaos.process.send_signal(signal.SIGCONT)
    assert chaos.end() in {Exit.STOPPED, Exit.INJECTION}, chaos.log.read_text()
    assert plane.cordoned() == []
    assert guard.release() == 0


def test_a_chaos_process_whose_conductor_hangs_undoes_by_itself(plane: LonePlane, tmp_path: Path) -> None:
    run = tmp_path / "run"
    alive = Alive(run / "undo", "conductor")
    chaos = Chaos(plane, run, "--set", "nodes=all", "--hold", "60")
    while "effective" not in chaos.steps():
        alive.beat()
        time.sleep(0.1)
    assert chaos.end() == Exit.INJECTION, chaos.log.read_text()
    assert plane.cordoned() == []
    assert any("conductor made no progress" in str(event.get("text")) for event in chaos.events())


def test_an_entry_that_vanishes_from_the_cluster_ends_its_fault(plane: LonePlane, tmp_path: Path) -> None:
    """Anybody may end one fault with kubectl; so does the reverter."""
    chaos = Chaos(plane, tmp_path / "run", "--set", "nodes=all", "--hold", "60")
    chaos.until_effective()
    (copy,) = plane.cluster.objects("configmaps", "focus-harness", "focus-harness/entry")
    plane.cluster.delete("configmaps", copy["metadata"]["name"], "focus-harness")
    assert chaos.end() == Exit.STOPPED, chaos.log.read_text()
    assert plane.cordoned() == []


def test_max_hold_ends_a_fault_although_everybody_lives(
    plane: LonePlane, tmp_path: Path, in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.chaos.play.SPARE_S", 0.0)
    guard = Guard.start(tmp_path / "run", plane.target, in_process.clock)
    in_process.cordon(hold_s=0.1)  # and then nobody undoes: max_hold is the hold and the time to effect
    assert len(plane.cordoned()) == 2
    until(lambda: not plane.cordoned(), 15, lambda: "the guard did not undo")
    assert guard.release() == 0


def test_a_chaos_process_killed_while_its_conductor_lives_is_healed_by_the_guard(
    plane: LonePlane, tmp_path: Path
) -> None:
    chaos = Chaos(plane, tmp_path / "run", "--set", "nodes=all", "--hold", "60")
    guard = Guard.start(tmp_path / "run", plane.target, chaos.clock)
    chaos.until_effective()
    chaos.process.kill()
    chaos.end()
    until(lambda: not plane.cordoned(), 15, lambda: "the guard did not undo")
    until(lambda: chaos.steps()[-1] == "verified", 15, lambda: str(chaos.steps()))
    assert guard.release() == 0


def test_a_rehearsal_refuses_what_the_target_does_not_allow_and_writes_nothing(plane: LonePlane) -> None:
    limits = plane.target.limits.model_copy(update={"max_nodes": 1})
    target = plane.target.model_copy(update={"limits": limits})
    with pytest.raises(TargetError, match=r"would cordon 2 nodes .* the target allows 1"):
        rehearse(target, plane.cluster, CORDON, {"nodes": "all"})
    with pytest.raises(InputError, match="no such worker"):
        rehearse(target, plane.cluster, CORDON, {"nodes": "worker-9"})
    rehearse(target, plane.cluster, CORDON, {"nodes": "1"})
    rehearse(target, plane.cluster, ROOT / "experiments" / "saturate-gpu.yaml", {"fill": "50%"})
    assert plane.cordoned() == []


def test_leftovers_refuse_the_next_run_until_they_are_undone(
    plane: LonePlane,
    in_process: InProcess,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    in_process.cordon()
    with pytest.raises(
        TargetBusy, match=r"cordon-worker on worker-node, worker-node-2 .*harness undo --target plane"
    ):
        preflight(plane.target, plane.cluster, [CORDON])
    with (
        Lease.acquire(plane.cluster, "run-9", holder="elsewhere/1/1"),
        pytest.raises(TargetBusy, match=r"in use by elsewhere/1/1 \(run run-9\)"),
    ):
        preflight(plane.target, plane.cluster, [CORDON])
    in_process.journal.path.unlink()  # the host it was started on is another one: only the cluster knows
    assert undo_command(target=str(plane.target_file)) == Exit.OK
    assert "cordon-worker on worker-node, worker-node-2: undone and verified" in capsys.readouterr().out
    assert plane.cordoned() == []
    preflight(plane.target, plane.cluster, [CORDON])
    assert undo_command() == Exit.OK
    assert "nothing to undo" in capsys.readouterr().out


def test_the_entry_in_the_cluster_says_what_it_is_and_how_to_end_it(
    plane: LonePlane, in_process: InProcess
) -> None:
    in_process.cordon()
    (copy,) = plane.cluster.objects("configmaps", "focus-harness", "focus-harness/entry")
    assert copy["data"]["victims"] == "worker-node, worker-node-2"
    assert "kubectl uncordon worker-node worker-node-2" in copy["data"]["undo"]
    assert json.loads(copy["data"]["entry"])["fault"] == "cordon-worker"
    in_process.play.undo()
    assert plane.cluster.objects("configmaps", "focus-harness", "focus-harness/entry") == []


def test_an_entry_names_the_run_that_holds_the_lock_whatever_its_folder_is_called(
    plane: LonePlane, tmp_path: Path
) -> None:
    """The reverter undoes entries of runs that do not hold the lock."""
    (tmp_path / "any-name").mkdir()
    info = RunInfo(
        run_id="20260101T000000Z-real", harness_version="", campaign="", plan_hash="", seed=0, target="plane",
        target_url="", wall_start="",
    )  # fmt: skip
    write_run(tmp_path / "any-name", info)
    chaos = Chaos(plane, tmp_path / "any-name", "--set", "nodes=worker-node", "--hold", "60")
    chaos.until_effective()
    (copy,) = plane.cluster.objects("configmaps", "focus-harness", "focus-harness/entry")
    node = plane.cluster.get("nodes", "worker-node")
    chaos.process.send_signal(signal.SIGTERM)
    chaos.end()
    assert copy["data"]["run"] == "20260101T000000Z-real"
    assert node["metadata"]["annotations"]["focus-harness/run"] == "20260101T000000Z-real"


def test_an_unknown_run_is_said(tmp_path: Path, state_home: Path) -> None:
    with pytest.raises(InputError, match="no such run folder"):
        undo_command(run=tmp_path / "nowhere")


def test_rights_the_faults_need_are_listed_before_anything_is_injected(plane: LonePlane) -> None:
    class Nobody:
        """The plane's cluster, seen by a user who may read and nothing else."""

        def __getattr__(self, name: str) -> object:
            return getattr(plane.cluster, name)

        def create(self, kind: str, obj: dict[str, object], namespace: str | None = None) -> object:
            if kind == "selfsubjectaccessreviews":
                spec = obj["spec"]["resourceAttributes"]  # type: ignore[index]
                return {"status": {"allowed": spec["verb"] in {"get", "list"}}}
            return plane.cluster.create(kind, obj, namespace)

    with pytest.raises(AccessDenied, match=r"patch nodes") as refused:
        preflight(plane.target, Nobody(), [CORDON])  # type: ignore[arg-type]
    assert "create configmaps in focus-harness" in str(refused.value)
    assert "get nodes" not in str(refused.value)
