"""`harness sandbox`: start, look at, take hold of and end the embedded reference world.

The command line is all there is to it: the work is the supervisor's. Called by `harness.cli`; the `hands` of a target call
`node`, `network`, `api` and `later`.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import click

import harness
from harness.errors import Exit, HarnessError, InputError, Unreachable
from harness.sandbox.control import Reply, ask
from harness.sandbox.hands import (
    API_VERBS,
    NETWORK_VERBS,
    PROCESS_VERBS,
    Request,
    api_request,
    later_request,
    network_request,
    node_request,
)
from harness.sandbox.processes import MARK, end_all, processes_of
from harness.sandbox.settings import MODES, PROFILES, Settings, SettingsError, keys
from harness.sandbox.state import (
    DEFAULT_NAME,
    Sandbox,
    clear,
    is_running,
    read_sandbox,
    sandbox_names,
    sandbox_root,
    take_name,
)

KEPT = ("logs", "truth", "supervisor.log")
"""What `down` leaves in a sandbox's directory."""
UP_WITHIN_S = 60.0
POLL_S = 0.1


def _chosen(_ctx: click.Context, _param: click.Parameter, name: str | None) -> str:
    """The sandbox that is meant: the one named, else the default one, else the only one that runs."""
    if name is not None:
        return name
    running = [one for one in sandbox_names() if is_running(one)]
    return running[0] if len(running) == 1 else DEFAULT_NAME


NAME = click.option(
    "--name",
    default=None,
    callback=_chosen,
    envvar="HARNESS_SANDBOX",
    help=f"Which sandbox: by default the only one that runs, else {DEFAULT_NAME!r}.",
)


@click.group()
def sandbox() -> None:
    """The embedded reference world: a Kubernetes API, nodes, Focus Server, MongoDB, all as processes on loopback."""


@sandbox.command()
@NAME
@click.option(
    "--mode", type=click.Choice(MODES), default="seed", show_default=True, help="Which Focus Server."
)
@click.option(
    "--profile", type=click.Choice(PROFILES), default="fast", show_default=True, help="Which clocks."
)
@click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="One setting; may be given several times."
)
@click.option(
    "--settings", "list_settings", is_flag=True, help="Print every setting with its value and exit."
)
@click.option("--bound-to", type=int, default=0, metavar="PID", help="End by itself when this process ends.")
def up(name: str, mode: str, profile: str, sets: tuple[str, ...], list_settings: bool, bound_to: int) -> None:
    """Start a sandbox and return when it is ready."""
    try:
        settings = Settings.make(mode, profile, sets)
    except SettingsError as error:
        raise InputError("\n".join(f"--set {problem}" for problem in error.problems)) from error
    if list_settings:
        for key in keys():
            click.echo(f"{key}={getattr(settings, key)}")
        return
    started = time.monotonic()
    root = sandbox_root(name)
    supervisor = _start_supervisor(name, root, settings, bound_to)
    try:
        running = _await_ready(name, supervisor, started)
    except BaseException:
        supervisor.kill()
        supervisor.wait()
        end_all(root)
        raise
    click.echo(f"sandbox {name!r} is ready after {time.monotonic() - started:.1f} s: {running.focus_url}")
    click.echo(f'to use it from other tools: eval "$(harness sandbox env --name {name})"')


def _start_supervisor(name: str, root: Path, settings: Settings, bound_to: int) -> subprocess.Popen[bytes]:
    lock = take_name(root)
    if lock is None:
        raise InputError(
            f"sandbox {name!r} is running already: look with `harness sandbox status --name {name}`, "
            f"end it with `harness sandbox down --name {name}`, or choose another --name"
        )
    _clean_up_after_crash(name, root)
    with (root / "supervisor.log").open("wb") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "harness.sandbox.supervisor", str(root), str(bound_to)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock,),
            env={**os.environ, MARK: str(root), "PYTHONPATH": _import_path()},
            cwd=root,
        )
    os.close(lock)
    assert supervisor.stdin is not None
    supervisor.stdin.write(json.dumps(settings.to_json()).encode())
    supervisor.stdin.close()
    return supervisor


def _import_path() -> str:
    """Where the supervisor, which runs elsewhere, finds this very harness, installed or not."""
    own = str(Path(harness.__file__).resolve().parent.parent)
    return os.pathsep.join(
        dict.fromkeys([own, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
    )


def _clean_up_after_crash(name: str, root: Path) -> None:
    """A sandbox that ended without `down` leaves files, and never processes; look nevertheless."""
    if not (root / "sandbox.json").exists():
        return
    left = end_all(root)
    if left:
        raise HarnessError(
            f"processes of an earlier sandbox {name!r} cannot be ended: {[one.pid for one in left]}"
        )
    (root / "sandbox.json").unlink()
    click.echo(f"cleaned up after an earlier sandbox {name!r} that had not been taken down")


def _await_ready(name: str, supervisor: subprocess.Popen[bytes], started: float) -> Sandbox:
    from harness.sandbox.readiness import parts_of  # noqa: PLC0415  (heavy; the hands start often)

    root, shown = sandbox_root(name), set[str]()
    while time.monotonic() - started < UP_WITHIN_S:
        if supervisor.poll() is not None:
            raise Unreachable(f"the sandbox ended while starting:\n{_tail(root / 'supervisor.log')}")
        parts = parts_of(read_sandbox(name)) if (root / "sandbox.json").exists() else []
        for part in parts:
            if part.ready and part.name not in shown:
                shown.add(part.name)
                click.echo(f"{time.monotonic() - started:5.1f} s  {part.name}: {part.seen}")
        if parts and all(part.ready for part in parts):
            return read_sandbox(name)
        time.sleep(POLL_S)
    missing = "; ".join(f"{part.name}: {part.seen}" for part in parts if not part.ready)
    raise Unreachable(f"not ready within {UP_WITHIN_S:g} s ({missing}); logs are in {root / 'logs'}")


def _tail(path: Path, lines: int = 20) -> str:
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


@sandbox.command()
@NAME
@click.option("--purge", is_flag=True, help="Keep nothing of it, not even its logs.")
def down(name: str, purge: bool) -> None:
    """End a sandbox and make sure that no process of it is left."""
    root = sandbox_root(name)
    if not root.exists():
        raise InputError(f"no sandbox {name!r}: there is {', '.join(sandbox_names()) or 'none'}")
    before = len(processes_of(root))
    if is_running(name):
        try:
            ask(root, Request("down"))
        except HarnessError:
            pass  # a supervisor that does not answer is ended below like everything else
        deadline = time.monotonic() + 5
        while is_running(name) and time.monotonic() < deadline:
            time.sleep(0.02)
    left = end_all(root)
    if left:
        names = ", ".join(f"{one.name} ({one.pid})" for one in left)
        raise HarnessError(f"sandbox {name!r} is not down: {names} could not be ended")
    clear(root, but=() if purge else KEPT)
    if purge:
        root.rmdir()
        root.with_suffix(".lock").unlink(missing_ok=True)
    rest = "nothing of it is left" if purge else f"its logs stay in {root / 'logs'}"
    click.echo(f"sandbox {name!r} is down: {before} processes ended, none is left; {rest}")


@sandbox.command()
@NAME
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
def status(name: str, form: str) -> None:
    """Say what runs and what is missing; exit 10 when the sandbox is not ready."""
    from harness.sandbox.manifests import broker_kind  # noqa: PLC0415
    from harness.sandbox.readiness import Part, parts_of  # noqa: PLC0415  (heavy; the hands start often)

    found = read_sandbox(name)
    running = is_running(name)
    reply = ask(found.root, Request("status")) if running else Reply()
    parts = parts_of(found) if running else [Part("supervisor", ready=False, seen="is not running")]
    broker = broker_kind(found.settings)
    ready = all(part.ready for part in parts)
    if form == "json":
        said = {
            "name": name,
            "running": running,
            "ready": ready,
            "mode": found.settings.mode,
            "profile": found.settings.profile,
            "broker": broker,
            "parts": {part.name: {"ready": part.ready, "seen": part.seen} for part in parts},
            "processes": [
                {"role": one.role, "pid": one.pid, "state": one.state, "impairment": str(one.impairment)}
                for one in reply.processes
            ],
            "timers": [{"name": one.name, "in_s": one.in_s, "does": one.words} for one in reply.timers],
        }
        click.echo(json.dumps(said, indent=1))
    else:
        click.echo(
            f"sandbox {name!r}, mode {found.settings.mode}, profile {found.settings.profile}: {'ready' if ready else 'not ready'}"
        )
        for part in parts:
            click.echo(f"  {'ok ' if part.ready else 'NO '} {part.name}: {part.seen}")
        click.echo(f"  broker: {_BROKER_WORDS.get(broker, broker)}")
        for one in reply.processes:
            process_id = f" (process {one.pid})" if one.state != "ended" else ""
            impaired = f", {one.impairment}" if str(one.impairment) else ""
            click.echo(f"  {one.role}: {one.state}{process_id}{impaired}")
        for timer in reply.timers:
            click.echo(f"  in {timer.in_s:.0f} s: {timer.words} (timer {timer.name})")
    if not ready:
        sys.exit(Exit.FAILED)


_BROKER_WORDS = {
    "none": "none (rabbitmq-server is not installed, or broker=off, and broker_url is empty); all else works",
    "own": "RabbitMQ in a pod",
    "external": "outside of the sandbox (broker_url)",
}


@sandbox.command()
@NAME
@click.option("--format", "form", type=click.Choice(("sh", "json")), default="sh", show_default=True)
def env(name: str, form: str) -> None:
    """Print what other tools need: addresses, kubeconfig and credentials, as variables."""
    from harness.sandbox.surroundings import variables  # noqa: PLC0415  (heavy; the hands start often)

    found = read_sandbox(name)
    if not is_running(name):
        raise InputError(f"sandbox {name!r} is not running: start it with `harness sandbox up --name {name}`")
    said = variables(found)
    if form == "json":
        click.echo(json.dumps(said, indent=1))
        return
    for key, value in said.items():
        click.echo(f"export {key}={shlex.quote(value)}")


@sandbox.command()
@NAME
@click.argument("node_name", metavar="NODE")
@click.argument("verb", type=click.Choice(PROCESS_VERBS))
def node(name: str, node_name: str, verb: str) -> None:
    """Freeze, thaw, kill or start a node's kubelet; killing it kills its pods."""
    found = read_sandbox(name)
    click.echo(ask(found.root, node_request(found, node_name, verb)).said)


@sandbox.command()
@NAME
@click.argument("node_name", metavar="NODE")
@click.argument("verb", type=click.Choice(NETWORK_VERBS))
@click.argument("amount", default="")
def network(name: str, node_name: str, verb: str, amount: str) -> None:
    """Slow down, drop or clear what passes through the service proxy of a node.

    That is what goes to node ports of NODE and, for the master, to ClusterIPs. `slow` makes each way longer by
    AMOUNT (like 50ms; 200ms when it is not given), `drop` lets nothing pass, `clear` takes back either.
    """
    found = read_sandbox(name)
    click.echo(ask(found.root, network_request(found, node_name, verb, amount)).said)


@sandbox.command()
@NAME
@click.argument("verb", type=click.Choice(API_VERBS))
@click.argument("amount", default="")
def api(name: str, verb: str, amount: str) -> None:
    """Take the Kubernetes API down, make it slow, or bring it up again.

    `down` kills the control plane; its objects are on disk. `slow` makes each answer come AMOUNT later (like
    500ms; 2s when it is not given). `up` takes back both, and a freeze.
    """
    click.echo(ask(read_sandbox(name).root, api_request(verb, amount)).said)


@sandbox.command()
@NAME
@click.argument("timer")
@click.argument("after_s", metavar="SECONDS", type=click.IntRange(min=0))
@click.argument("action", nargs=-1)
def later(name: str, timer: str, after_s: int, action: tuple[str, ...]) -> None:
    """Do something after SECONDS, whatever becomes of whoever asked for it.

    ACTION is `node NODE VERB`, `network NODE VERB [AMOUNT]` or `api VERB [AMOUNT]`. TIMER is a name: arming it
    again replaces what it was to do; 0 SECONDS forgets it.
    """
    found = read_sandbox(name)
    click.echo(ask(found.root, later_request(found, timer, after_s, action)).said)


@sandbox.command()
@NAME
@click.argument("role")
@click.argument("verb", type=click.Choice(PROCESS_VERBS))
def process(name: str, role: str, verb: str) -> None:
    """Freeze, thaw, kill or start a process.

    ROLE is control-plane, ingress, proxy/NODE, kubelet/NODE, the name of a pod, or what a pod's container runs
    (focus-server, mongodb, rabbitmq, player, pzlinux, cleanup-grpc). Nothing that was killed comes back by
    itself, but containers, which their kubelet starts again.
    """
    click.echo(ask(read_sandbox(name).root, Request("process", role, verb)).said)
