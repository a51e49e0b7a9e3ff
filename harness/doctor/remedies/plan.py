"""What a remedy would touch, object by object, as data: shown to a person, typed by a person, or done by `mend`. Pure but for reading.

Every deletion names one object by its exact name and uid; there is no remedy that deletes by label.
"""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from harness.cluster import Object, name_of, uid_of
from harness.doctor.sight import Sight


@dataclass(frozen=True, slots=True)
class Touch:
    """One thing that is done to one object."""

    does: Literal["delete", "patch", "create", "hand", "sweep", "wait"]
    kind: str
    name: str
    why: str
    line: str
    """What a person would type for it."""
    namespace: str = ""
    uid: str = ""
    body: Any = None
    """What is written; of a deletion, the state that it is for."""
    recheck: bool = True
    """Whether the plan is made anew right before it is done, and must still hold it."""

    @property
    def words(self) -> str:
        """It in one line, for people."""
        where = f" in {self.namespace}" if self.namespace else ""
        uid = f" (uid {self.uid})" if self.uid else ""
        return f"{self.does} {self.kind.removesuffix('s')} {self.name}{where}{uid}: {self.why}"

    def same_as(self, other: "Touch") -> bool:
        """Say whether that is the same thing done to the same object."""
        mine = (self.does, self.kind, self.name, self.uid, self.body)
        return mine == (other.does, other.kind, other.name, other.uid, other.body)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One object that is left alone, why, and the way out."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a remedy would do now, and what it would not."""

    touches: tuple[Touch, ...] = ()
    refused: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    wait_s: float = 0.0
    """How long it is expected to take until it shows."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """One remedy of the table: its name for `--fix`, what it is for, the checks it heals, and how it plans (raises CannotLook)."""

    name: str
    title: str
    heals: tuple[str, ...]
    plan: Callable[[Sight], Plan]
    within_s: float = 60.0
    """How long its effect is waited for."""
    lock: Literal["the target's", "its own", "none"] = "the target's"
    """Whether the target's lock is taken: one that runs a command which takes it only looks, one that touches nothing needs none."""


def kubectl(sight: Sight, *words: str, namespace: str | None = None) -> str:
    """Return a kubectl line for this target: its context and namespace, and exact names."""
    where = sight.namespace if namespace is None else namespace
    context = sight.kubernetes.context
    argv = [
        "kubectl",
        *(["--context", context] if context else []),
        *(["-n", where] if where else []),
        *words,
    ]
    return shlex.join(argv)


def deletion(sight: Sight, kind: str, obj: Object, why: str, state: Any = None) -> Touch:
    """Return the deletion of one object; if its `state` is another one by then, it is left alone."""
    line = kubectl(sight, "delete", kind.removesuffix("s"), name_of(obj))
    return Touch("delete", kind, name_of(obj), why, line, sight.namespace, uid_of(obj), state)


def scaling(sight: Sight, kind: str, obj: Object, replicas: int, why: str, *, recheck: bool = True) -> Touch:
    """Return the scaling of one workload."""
    line = kubectl(sight, "scale", f"{kind.removesuffix('s')}/{name_of(obj)}", f"--replicas={replicas}")
    body = {"spec": {"replicas": replicas}}
    return Touch("patch", kind, name_of(obj), why, line, sight.namespace, uid_of(obj), body, recheck)


def patching(sight: Sight, kind: str, obj: Object, body: Any, why: str) -> Touch:
    """Return a merge patch of one object; one without a namespace if it has none."""
    namespace = str(obj["metadata"].get("namespace", ""))
    words = ("patch", kind.removesuffix("s"), name_of(obj), "--type=merge", "-p", json.dumps(body))
    return Touch(
        "patch",
        kind,
        name_of(obj),
        why,
        kubectl(sight, *words, namespace=namespace),
        namespace,
        uid_of(obj),
        body,
    )
