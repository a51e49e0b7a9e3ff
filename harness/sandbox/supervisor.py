"""The process a sandbox hangs on: starts the control plane, kubelets, proxies and the ingress, and waits.

`harness sandbox up` starts it detached; `down` and the hands talk to it over a Unix socket in the sandbox's directory. It imports everything once and forks, which makes starting quick and memory shared. All
children hang on its lifeline. It is hardware: what is killed stays dead until somebody says `start`, and what is
impaired stays so until somebody says otherwise, if need be a timer that was armed here. It never speaks Kubernetes.
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
from harness.sandbox.control import Armed, Process, Reply, control_socket
from harness.sandbox.hands import Request
from harness.sandbox.impairments import NONE, Impairment, impair, impairment_of
from harness.sandbox.lifeline import Lifeline
from harness.sandbox.node.containers import Container, containers_of
from harness.sandbox.processes import close_files_but, is_frozen, name_process, wait_gone
from harness.sandbox.settings import Settings
from harness.sandbox.state import Sandbox, clear, take_block
from harness.sandbox.timers import Timer, Timers

log = logging.getLogger(__name__)

ENTRIES = {
    "control-plane": "harness.sandbox.controllers.process:main",
    "kubelet": "harness.sandbox.node.kubelet:main",
    "proxy": "harness.sandbox.node.proxy:main",
    "ingress": "harness.sandbox.ingress:main",
}
"""What a role's process runs: "module:function", called with the sandbox and, on nodes, the node's name."""


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
        self._timers = Timers()
        self._selector = selectors.DefaultSelector()
        self._control = control_socket(sandbox.root)
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
            for key, _ in self._selector.select(self._timers.next_in_s(time.monotonic())):
                key.data()
            self._do_what_is_due()
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

    def _do_what_is_due(self) -> None:
        for timer in self._timers.take_due(time.monotonic()):
            try:
                said = self._answer(timer.then).said
            except (HarnessError, OSError) as error:
                log.error("timer %s: %s failed: %s", timer.name, timer.words, error)  # noqa: TRY400 - no defect of ours
            else:
                log.info("timer %s: %s: %s", timer.name, timer.words, said)

    def _answer(self, request: Request) -> Reply:
        if request.do == "down":
            self._ending = True
            return Reply(said="ending")
        if request.do == "status":
            return self._status()
        if request.do == "later":
            return Reply(said=self._later(request))
        if request.do == "api":
            return Reply(said=self._api(self._children[request.role], request))
        if request.do == "network":
            return Reply(said=self._network(request))
        if request.role in self._children:
            return Reply(said=self._hands_on(self._children[request.role], request.verb))
        return Reply(said=self._hands_on_containers(request.role, request.verb))

    def _status(self) -> Reply:
        now_s = time.monotonic()
        return Reply(
            processes=tuple(self._seen(child) for child in self._children.values()),
            timers=tuple(Armed(one.name, one.due_s - now_s, one.words) for one in self._timers.pending()),
        )

    def _seen(self, child: _Child) -> Process:
        state = "ended" if not child.alive else "frozen" if is_frozen(child.pid) else "running"
        return Process(child.role, child.pid, state, impairment_of(self._sandbox.root, child.role))

    def _later(self, request: Request) -> str:
        name = request.timer
        if request.then is None:
            return f"timer {name} {'is forgotten' if self._timers.forget(name) else 'was not armed'}"
        timer = Timer(name, time.monotonic() + request.after_s, request.then, request.words)
        replaced = self._timers.arm(timer)
        return f"in {request.after_s} s: {request.words} (timer {name}{', armed anew' if replaced else ''})"

    def _network(self, request: Request) -> str:
        wanted = {"slow": Impairment(request.amount_s), "drop": Impairment(drops=True), "clear": NONE}
        impairment = wanted[request.verb]
        impair(self._sandbox.root, request.role, impairment)
        return f"{request.role} {str(impairment) or 'is as it should be'}"

    def _api(self, child: _Child, request: Request) -> str:
        if request.verb == "slow":
            impairment = Impairment(request.amount_s)
            impair(self._sandbox.root, child.role, impairment)
            return f"{child.role} {impairment}"
        if request.verb == "down":
            return self._kill(child) if child.alive else f"{child.role} is down already"
        impair(self._sandbox.root, child.role, NONE)
        if child.alive and not is_frozen(child.pid):
            return f"{child.role} is up (process {child.pid})"
        return self._hands_on(child, "thaw" if child.alive else "start")

    def _hands_on(self, child: _Child, verb: str) -> str:
        frozen = child.alive and is_frozen(child.pid)
        if verb == "start":
            if child.alive:
                return f"{child.role} runs already (process {child.pid}{', frozen' if frozen else ''})"
            self._start(child)
            return f"{child.role} started as process {child.pid}"
        if verb == "thaw" and not frozen:
            return f"{child.role} is not frozen{'' if child.alive else ', and not running'}"
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
            return f"{role} runs already; its kubelet starts it when it has ended"
        number = {"freeze": signal.SIGSTOP, "thaw": signal.SIGCONT, "kill": signal.SIGKILL}[verb]
        return "; ".join(_signal_container(container, number, verb) for container in chosen)


def _signal_container(container: Container, number: signal.Signals, verb: str) -> str:
    if verb == "thaw" and not is_frozen(container.pid):
        return f"{container.pod} is not frozen"
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
