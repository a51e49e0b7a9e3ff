"""The process a sandbox hangs on: starts the control plane, kubelets, proxies and the ingress, and waits.

`harness sandbox up` starts it detached; `down`, `node` and `process` talk to it over a Unix socket in the
sandbox's directory. It imports everything once and forks, which makes starting quick and memory shared. All
children hang on its lifeline. It is hardware: what is killed stays dead until somebody says `start`.
It never speaks Kubernetes and never restarts anything by itself.
"""

from __future__ import annotations

import gc
import logging
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import msgspec

from harness.errors import HarnessError, InputError
from harness.sandbox.lifeline import Lifeline
from harness.sandbox.node.containers import Container, containers_of
from harness.sandbox.processes import close_files_but, is_frozen, name_process, wait_gone
from harness.sandbox.settings import Settings
from harness.sandbox.state import Sandbox, clear, take_block

log = logging.getLogger(__name__)

VERBS = ("freeze", "thaw", "kill", "start")

ENTRIES = {
    "control-plane": "harness.sandbox.controllers.process:main",
    "kubelet": "harness.sandbox.node.kubelet:main",
    "proxy": "harness.sandbox.node.proxy:main",
    "ingress": "harness.sandbox.ingress:main",
}
"""What a role's process runs: "module:function", called with the sandbox and, on nodes, the node's name."""


class Request(msgspec.Struct, frozen=True):
    """What the command line asks for: `down`, `status`, or a verb for a process."""

    do: str
    role: str = ""


class Process(msgspec.Struct, frozen=True):
    """One line of `status`."""

    role: str
    pid: int
    state: str
    """`running`, `frozen` or `ended`."""


class Reply(msgspec.Struct, frozen=True):
    """The answer: what was done, or why not."""

    said: str = ""
    error: str = ""
    processes: tuple[Process, ...] = ()


@dataclass
class _Child:
    role: str
    entry: str
    node: str | None = None
    pid: int = 0
    alive: bool = field(default=False)


class Supervisor:
    """Holds the children of one sandbox."""

    def __init__(self, sandbox: Sandbox, block_lock: socket.socket, bound_to: int | None = None) -> None:
        self._sandbox = sandbox
        self._bound_to = bound_to
        self._block_lock = block_lock
        self._lifeline = Lifeline()
        self._children = {child.role: child for child in _roles(sandbox)}
        self._selector = selectors.DefaultSelector()
        self._control = _control_socket(sandbox.root)
        self._ending = False

    def run(self) -> None:
        """Start everything and serve requests until told to end."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        self._selector.register(wake_read, selectors.EVENT_READ, lambda: self._reap(wake_read))
        self._selector.register(self._control, selectors.EVENT_READ, self._serve)
        if self._bound_to is not None and not self._watch(self._bound_to):
            return
        gc.collect()
        gc.freeze()
        for child in self._children.values():
            self._start(child)
        while not self._ending:
            for key, _ in self._selector.select():
                key.data()
        self._kill_all()

    def _watch(self, pid: int) -> bool:
        """End with the process this sandbox is bound to; False when that is gone already."""
        try:
            self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, self._end)
        except ProcessLookupError:
            return False
        return True

    def _end(self) -> None:
        self._ending = True

    def _start(self, child: _Child) -> None:
        pid = os.fork()
        if pid == 0:
            self._become(child)
        child.pid, child.alive = pid, True
        log.info("%s runs as %s", child.role, pid)

    def _become(self, child: _Child) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            keep = self._lifeline.tie()
            log = self._sandbox.logs_dir / f"{child.role.replace('/', '-')}.log"
            _only_these_files(log, keep)
            name_process(child.role)
            if child.role != "control-plane":
                _await_credentials(self._sandbox.root)
            module, _, function = child.entry.partition(":")
            run: Callable[..., None] = getattr(import_module(module), function)
            run(self._sandbox, *([child.node] if child.node else []))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self, wake_read: int) -> None:
        try:
            os.read(wake_read, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children.values():
                if child.pid == pid:
                    child.alive = False
                    log.info("%s ended (%s)", child.role, os.waitstatus_to_exitcode(status))

    def _kill_all(self) -> None:
        alive = [child.pid for child in self._children.values() if child.alive]
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
        for pid in alive:
            os.waitpid(pid, 0)

    def _serve(self) -> None:
        line, _ = self._control.accept()
        with line:
            line.settimeout(5)
            try:
                received = line.makefile("rb").readline()
                reply = self._answer(msgspec.json.decode(received, type=Request))
            except HarnessError as error:
                reply = Reply(error=str(error))
            except (OSError, msgspec.MsgspecError) as error:
                reply = Reply(error=f"{type(error).__name__}: {error}")
            try:
                line.sendall(msgspec.json.encode(reply) + b"\n")
            except OSError:
                pass  # the command was interrupted; what it asked for is done

    def _answer(self, request: Request) -> Reply:
        if request.do == "down":
            self._ending = True
            return Reply(said="ending")
        if request.do == "status":
            return Reply(processes=tuple(self._seen(child) for child in self._children.values()))
        if request.do not in VERBS:
            raise InputError(f"unknown request {request.do!r}: one of {', '.join(VERBS)}")
        if request.role in self._children:
            return Reply(said=self._hands_on(self._children[request.role], request.do))
        return Reply(said=self._hands_on_containers(request.role, request.do))

    def _seen(self, child: _Child) -> Process:
        state = "ended" if not child.alive else "frozen" if is_frozen(child.pid) else "running"
        return Process(child.role, child.pid, state)

    def _hands_on(self, child: _Child, verb: str) -> str:
        if verb == "start":
            if child.alive:
                raise InputError(f"{child.role} runs already (process {child.pid})")
            self._start(child)
            return f"{child.role} started as process {child.pid}"
        if not child.alive:
            raise InputError(f"{child.role} is not running: start it first")
        if verb == "kill":
            return self._kill(child)
        os.kill(child.pid, signal.SIGSTOP if verb == "freeze" else signal.SIGCONT)
        return f"{child.role} {'frozen' if verb == 'freeze' else 'thawed'} (process {child.pid})"

    def _kill(self, child: _Child) -> str:
        below = (
            containers_of(self._sandbox, child.node)
            if child.node and child.role.startswith("kubelet/")
            else []
        )
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        child.alive = False
        if not wait_gone([container.pid for container in below], 3.0):
            raise HarnessError(f"{child.role} is dead but not all of its pods are")
        return f"{child.role} killed" + (f", {len(below)} containers with it" if below else "")

    def _hands_on_containers(self, role: str, verb: str) -> str:
        chosen = [
            container
            for node in self._sandbox.nodes
            for container in containers_of(self._sandbox, node)
            if container.plays(role)
        ]
        if not chosen:
            known = sorted(
                {
                    *self._children,
                    *(c.role for n in self._sandbox.nodes for c in containers_of(self._sandbox, n)),
                }
            )
            raise InputError(f"nothing runs as {role!r}: there are {', '.join(known)}, and pods by name")
        if verb == "start":
            raise InputError(f"{role} runs in pods, which the kubelet starts; `kill` it and see")
        number = {"freeze": signal.SIGSTOP, "thaw": signal.SIGCONT, "kill": signal.SIGKILL}[verb]
        return "; ".join(_signal_container(container, number, verb) for container in chosen)


def _signal_container(container: Container, number: signal.Signals, verb: str) -> str:
    try:
        os.killpg(container.pid, number)
    except ProcessLookupError:
        return f"{container.pod} was gone"
    return f"{container.pod}: {verb} ({number.name} to process group {container.pid})"


def _await_credentials(root: Path) -> None:
    """Wait until the control plane has written how to reach it."""
    while not (root / "admin.json").exists() or not (root / "kubeconfig").exists():
        time.sleep(0.02)


def _roles(sandbox: Sandbox) -> list[_Child]:
    roles = [_Child("control-plane", ENTRIES["control-plane"])]
    roles += [_Child(f"kubelet/{node}", ENTRIES["kubelet"], node) for node in sandbox.nodes]
    roles += [_Child(f"proxy/{node}", ENTRIES["proxy"], node) for node in sandbox.nodes]
    return [*roles, _Child("ingress", ENTRIES["ingress"])]


def _only_these_files(log: Path, keep: int) -> None:
    """Write output to `log` and close every inherited file but the lifeline."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    close_files_but({keep})


def _control_socket(root: Path) -> socket.socket:
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    (root / "control").unlink(missing_ok=True)
    with short_path(root) as directory:
        control.bind(f"{directory}/control")
    control.listen(16)
    return control


class short_path:  # noqa: N801 - used like a function
    """A path to `root` that fits into a Unix socket's address, however deep the directory lies."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._fd = -1

    def __enter__(self) -> str:
        if len(str(self._root)) < 80 or sys.platform != "linux":
            return str(self._root)
        self._fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._fd}"

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def ask(root: Path, request: Request, timeout_s: float = 10.0) -> Reply:
    """Send one request to the sandbox's supervisor; raise InputError with its reason when it refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line, short_path(root) as directory:
        line.settimeout(timeout_s)
        try:
            line.connect(f"{directory}/control")
            line.sendall(msgspec.json.encode(request) + b"\n")
            reply = msgspec.json.decode(line.makefile("rb").readline(), type=Reply)
        except (OSError, msgspec.MsgspecError) as error:
            raise HarnessError(f"the supervisor at {root} does not answer: {error}") from error
    if reply.error:
        raise InputError(reply.error)
    return reply


def _warm_up() -> None:
    """Import once what the children need, so that they share it."""
    from harness.sandbox.pods import PRELOAD  # noqa: PLC0415 - heavy

    for name in (*PRELOAD, *(entry.partition(":")[0] for entry in ENTRIES.values())):
        import_module(name)


def main(root: Path, settings: Settings, bound_to: int | None) -> None:
    """Take a block, write sandbox.json, run until told to end, and leave nothing behind."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    os.umask(0o077)
    clear(root, but=("supervisor.log",))
    for part in ("logs", "truth", "volumes", "nodes"):
        (root / part).mkdir()
    block, lock = take_block()
    sandbox = Sandbox(root.name, root, block, settings, os.getpid())
    sandbox.write()
    _warm_up()
    Supervisor(sandbox, lock, bound_to).run()


if __name__ == "__main__":
    # argv: the directory and the process to be bound to (or 0); standard input: the settings as JSON. The
    # lock on the name is inherited.
    main(
        Path(sys.argv[1]),
        Settings.from_json(msgspec.json.decode(sys.stdin.buffer.read())),
        int(sys.argv[2]) or None,
    )
