"""The target file as a frozen value (`schema: 1`). Pure: no file, no network, no cluster is touched here."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from harness.documents import Document, Seconds


class RoleName(StrEnum):
    """The parts a Focus Server system is made of, as experiments and watchers call them."""

    FOCUS_SERVER = "focus_server"
    MONGODB = "mongodb"
    BROKER = "broker"
    PLAYER = "player"


class Tls(Document):
    """How HTTPS is verified: by the system's authorities, a CA file, or (loudly) not at all."""

    ca_file: str | None = None
    insecure: bool = False


class Timeouts(Document):
    """Four named timeouts of the REST client; nothing is ever retried."""

    connect_s: Seconds = Field(default=5.0, alias="connect")
    read_s: Seconds = Field(default=60.0, alias="read")
    total_s: Seconds = Field(default=65.0, alias="total")
    ready_s: Seconds = Field(default=60.0, alias="ready")
    """How long an accepted window's stream may take to become ready."""


class Role(Document):
    """A workload of the system: what kind it is, its name, its pods' selector, the Service in front of it."""

    kind: Literal["Deployment", "StatefulSet"]
    name: str
    selector: str
    service: str | None = None


class Kubernetes(Document):
    """The cluster behind the target, and how to be sure it is that one."""

    kubeconfig: str | None = None
    context: str | None = None
    identity: str
    """The uid of the namespace kube-system; a cluster with another one is refused."""
    namespace: str = "panda"
    harness_namespace: str = "focus-harness"
    """Where the lock and the undo entries are kept; created if it is missing."""
    worker_selector: str = "!node-role.kubernetes.io/control-plane"
    """Nodes that can run windows."""
    harness_image: str = "focus-harness:0.1.0"
    """The image of this harness: what the reverter and the slow proxy run."""
    cleanup_account: str = "cleanup-sa"
    """The service account that the windows' cleanup jobs run as."""
    roles: dict[RoleName, Role]


class Budget(Document):
    """What a run may cost the target at most; enforced in the client, whatever starts the load."""

    max_jobs: int = Field(default=500, ge=1)
    max_rate_per_s: float = Field(default=20.0, gt=0)
    max_duration_s: Seconds = Field(default=3600.0, alias="max_duration")
    max_open_windows: int = Field(default=60, ge=1)


class Limits(Document):
    """The blast radius: how much one run may take away at once."""

    max_nodes: int = Field(default=1, ge=0)
    max_gpu_share: float = Field(default=1.0, ge=0, le=1)
    """Share of all GPU shares that hogs may hold."""
    max_window_share: float = Field(default=0.5, ge=0, le=1)
    """Share of MaxWindows that squatters may hold."""
    max_pods: int = Field(default=100, ge=0)
    """Pods that one fault may end or create."""
    namespaces: tuple[str, ...] = ()
    """Further namespaces whose pods a fault may hit; the system's own and ours are allowed anyway."""
    max_hold_s: Seconds = Field(default=600.0, alias="max_hold")


_FILLED = {
    "node": {"node": "node", "verb": "freeze"},
    "network": {"node": "node", "verb": "slow", "amount": "200ms"},
    "api": {"verb": "down", "amount": ""},
}


class Hands(Document):
    """Commands that reach what no API reaches. `{node}`, `{verb}` and `{amount}` are filled in.

    `node` takes the verbs freeze, thaw, kill, start (the kubelet, and with kill its pods); `network` slow, drop, clear (the
    node's stream ports); `api` down, slow, up (the API server). Each `..._timer` arms, for the time when nobody is left to
    undo, the verb that takes it back: `{after_s}` seconds from now; 0 forgets it, and arming again replaces it.
    """

    node: str | None = None
    node_timer: str | None = None
    network: str | None = None
    network_timer: str | None = None
    api: str | None = None
    api_timer: str | None = None

    @field_validator("*")
    @classmethod
    def _fills(cls, command: str | None, info: ValidationInfo) -> str | None:
        name = str(info.field_name)
        fills = _FILLED[name.removesuffix("_timer")] | ({"after_s": 1} if name.endswith("_timer") else {})
        try:
            (command or "").format(**fills)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            known = ", ".join(f"{{{key}}}" for key in fills)
            raise ValueError(f"only {known} are filled in; double every other brace") from error
        return command


class Target(Document):
    """Everything the harness knows about one system under test before it has looked."""

    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    environment_command: str | None = None
    """Prints a JSON object of variables that fill `${NAME}` in this file."""
    is_sandbox: bool = Field(default=False, alias="sandbox")
    url: str
    """Base URL of Focus Server, prefix included."""
    tls: Tls = Tls()
    timeouts: Timeouts = Timeouts()
    headers: dict[str, str] = Field(default_factory=dict)
    kubernetes: Kubernetes | Literal["none"] = Field(alias="kube")
    gpu_resource: str = "nvidia.com/gpu.shared"
    max_windows: Annotated[int, Field(ge=1)] | Literal["unlimited", "unknown"]
    mongodb_uri: str | None = None
    broker_uri: str | None = None
    hands: Hands = Hands()
    budget: Budget = Budget()
    limits: Limits = Limits()
    faults: tuple[str, ...] = ()
    """Faults from outside that may be played here, as `module:Class`."""
    accept: tuple[str, ...] = ()
    """What cannot come back and is accepted here, by name (see docs/faults.md)."""

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is not a URL; write http:// or https:// in front of it")
        return url.rstrip("/")

    @field_validator("mongodb_uri", "broker_uri", mode="before")
    @classmethod
    def _empty_is_none(cls, uri: object) -> object:
        return uri or None

    @model_validator(mode="after")
    def _one_way_to_verify(self) -> "Target":
        if self.tls.insecure and self.tls.ca_file:
            raise ValueError("tls: `insecure` and `ca_file` exclude each other")
        return self

    @property
    def window_limit(self) -> int | None:
        """MaxWindows, or None where there is no limit or it is not known."""
        return self.max_windows if isinstance(self.max_windows, int) else None
