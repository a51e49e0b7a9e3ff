"""What the client has to know of a target to reach its cluster; a target file's `kube:` section fits.

Spelled out here because this package does not see target files: whoever calls it does.
"""

from dataclasses import dataclass
from typing import Literal, Protocol


class Place(Protocol):
    """How to reach a cluster, how to be sure it is the one meant, and what is called what there."""

    @property
    def kubeconfig(self) -> str | None:
        """File with addresses and credentials."""
        ...

    @property
    def context(self) -> str | None:
        """Which of its contexts; its current one if None."""
        ...

    @property
    def identity(self) -> str:
        """The uid of kube-system."""
        ...

    @property
    def namespace(self) -> str:
        """The system's namespace."""
        ...

    @property
    def harness_namespace(self) -> str:
        """Ours."""
        ...

    @property
    def worker_selector(self) -> str:
        """Which nodes are workers."""
        ...


class Reachable(Protocol):
    """A target: its name, and where its cluster is."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def kubernetes(self) -> Place | Literal["none"]:
        """The cluster, or `none`."""
        ...


@dataclass(frozen=True, slots=True)
class Inside:
    """The cluster a pod of ours runs in, known by our namespace alone."""

    harness_namespace: str
    kubeconfig: str | None = None
    context: str | None = None
    identity: str = ""
    namespace: str = "default"
    worker_selector: str = ""
