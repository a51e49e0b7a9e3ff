"""Every number and name a sandbox runs by, as data.

Read by all sandbox processes (each gets it as JSON inside sandbox.json). A sandbox is made of a *mode*
(what kind of Focus Server: the paper one, `seed`, or the observed one, `field`) and a *profile* (how fast
its clocks run: `production` or `fast`). Both only choose values from the tables below; every value can then
be set on its own (`--set key=value`). Refuses unknown keys, wrong types and settings that contradict each
other; reads no file and no environment.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

MODES = ("seed", "field")
PROFILES = ("production", "fast")


class SettingsError(ValueError):
    """A setting that does not exist, does not parse or contradicts another; lists every problem."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))


@dataclass(frozen=True)
class Settings:
    """The values of one sandbox. Defaults are mode `seed`, profile `production`; build with `make`."""

    mode: str = "seed"
    profile: str = "production"

    # Names and selectors (by mode).
    namespace: str = "panda"
    focus_name: str = "focus-server"
    focus_selector: str = "app=focus-server"
    focus_port: int = 5000
    mongodb_name: str = "mongodb-panda"
    mongodb_selector: str = "app=mongodb"
    mongodb_port: int = 27017
    mongodb_database: str = "prisma"
    mongodb_user: str = "prisma"
    mongodb_password: str = "prisma-sandbox"  # noqa: S105 - opens nothing but this sandbox
    broker_name: str = "rabbitmq-panda"
    broker_selector: str = "app.kubernetes.io/instance=rabbitmq-panda"
    broker_port: int = 5672
    broker_user: str = "prisma"
    broker_password: str = "prisma-sandbox"  # noqa: S105 - opens nothing but this sandbox
    player_name: str = "panda-panda-player"
    player_selector: str = "app.kubernetes.io/name=panda-panda-player"
    ingress_prefix: str = "/focus-server"
    image_registry: str = "registry.sandbox"
    image_tag: str = "10.7.122"

    # Nodes.
    master_node: str = "master-node"
    worker_nodes: tuple[str, ...] = ("worker-node", "worker-node-2")
    kubernetes_version: str = "v1.34.1+k3s1"
    gpu_resource: str = "nvidia.com/gpu.shared"
    gpu_shares: int = 20
    """Shares of the GPU resource on each worker; the master has none."""
    node_cpu_m: int = 64000
    node_memory_mib: int = 262144
    node_pods: int = 250
    pod_ips: int = 250
    """Pod addresses per node; when they are used up pods stay in ContainerCreating."""
    node_port_min: int = 30000
    node_port_max: int = 32767

    # Node life: heartbeats and how soon silence is believed.
    node_lease_duration_s: float = 40.0
    node_heartbeat_s: float = 10.0
    node_status_s: float = 60.0
    node_monitor_s: float = 5.0
    node_grace_s: float = 40.0
    """Silence of a node after which it is NotReady."""
    pod_eviction_s: float = 300.0
    """How long pods stay on a NotReady or unreachable node (default tolerationSeconds)."""

    # Pod life.
    pod_start_delay_s: float = 0.5
    restart_delay_s: float = 10.0
    """Wait before a crashed container is started again; also before a replacement of a killed pod starts."""
    restart_delay_max_s: float = 300.0
    restart_reset_s: float = 600.0
    metrics_period_s: float = 10.0

    # Jobs that Focus Server makes.
    job_ttl_s: int = 120
    cleanup_ttl_s: int = 10
    cleanup_period_s: float = 10.0
    cleanup_low_readings: int = 5
    """Consecutive idle readings before a window is removed: 5 x 10 s = 50 s."""
    cleanup_sign: str = "frames"
    """What an idle reading looks at: `frames` sent since the last reading, or `cpu` by pod metrics."""
    cleanup_cpu_threshold_m: float = 4.0
    cleanup_frames_threshold: int = 0
    queue_leak: bool = False
    service_owned: bool = True
    """True: a window's Service is owned by its Job, so that a lost cleanup pod leaks no slot for ever."""

    # Focus Server: admission and answers.
    admission: bool = True
    """True: refuse with 503 what cannot start now. False: 200 and a Pending pod."""
    max_windows: int = 30
    """Slots that can be held at once; 0 means unlimited."""
    strict_validation: bool = False
    basic_validation: bool = True
    """True: 422 for values without meaning (max below min, a height of 0, one time of two)."""
    parse_errors_500: bool = False
    """True: an omitted duration, NFFT or frequency range ends in 500 "Error parsing configuration"."""
    require_height: bool = False
    default_height: int = 100
    default_duration_s: int = 10
    default_nfft: int = 1024
    waterfall_supported: bool = False
    leaked_slots: int = 0
    """Services of windows long gone that a new sandbox starts with; they hold the lowest slots for ever."""
    first_port: int = 12300
    """Service port = first_port + slot."""
    node_port_base: int = 30000
    """nodePort = stream_port = node_port_base + slot."""
    stream_url_scheme: str = ""
    dialect_strings: bool = False
    """True: stream_port and view_type are answered as strings and frequencies_list as {} (an older build)."""
    status_text: str = "configured"
    counter_resets: bool = False
    """True: the counter of job ids begins at 1 whenever Focus Server starts."""
    task_in_mongodb: bool = True
    mongodb_check: bool = True
    mongodb_timeout_s: float = 1.0
    mongodb_at_start: bool = False
    """True: Focus Server looks for MongoDB at its start and dies when it is not there."""
    mongodb_start_timeout_s: float = 30.0
    broker_check: bool = True
    broker_timeout_s: float = 1.0
    kubernetes_check: bool = True
    kubernetes_timeout_s: float = 1.0
    check_order: tuple[str, ...] = (
        "focus_server_down",
        "kubernetes_unreachable",
        "gpu_exhausted",
        "worker_unavailable",
        "max_windows",
        "mongodb_unavailable",
        "broker_unavailable",
        "waiting_for_fibre",
    )
    """Precedence of causes: the first that holds is the one a refusal is for (the truth log's `primary`)."""
    refusal_body: str = "json"
    """What a refusal of the server says: `json`, `text`, `error` (another JSON) or nothing (`empty`)."""
    misdirected_share: float = 0.0
    """Share of answers that name the port of another open window, whose frames the client then gets."""
    sync_delay_s: float = 0.0
    """How long after its start Focus Server begins to read the cluster; until it has, it opens no window."""
    whim_share: float = 0.0
    """Share of creates refused for no reason at all, which nothing that can be seen explains."""
    check_reuse_s: float = 0.1
    """How old a shared answer of a dependency may be; requests within it share one call."""
    storage_mount_path: str = "/prisma/root/recordings/segy"
    historic_rule: str = "overlap"
    """`overlap`: any finished recording in the window; `strict`: the start lies in an indexed recording."""
    historic_index_delay_s: float = 0.0
    metadata_delay_s: float = 0.0
    """`GET /metadata/{job_id}` says 404 until a job is this old; negative: for ever."""
    decimation: int = 1
    highest_channel: int = 2337
    number_of_channels: int = 9791
    prr: float = 2000.0
    waiting_for_fiber: bool = False
    legacy_task_api: bool = False

    # Focus Server: added latency and errors of a loaded site.
    latency_median_s: float = 0.0
    latency_p95_s: float = 0.0
    latency_per_parallel_s: float = 0.0
    errors_from_parallel: int = 0
    """Creates in flight from which some end in 500, 502 or 504; 0 means never."""
    error_share_first: float = 0.25
    error_share_at_20: float = 0.9

    # Streams.
    stream_amount: int = 3
    ready_delay_s: float = 6.0
    """Least time from a stream pod's start to its open port; median and 95th percentile follow."""
    ready_delay_median_s: float = 7.0
    ready_delay_p95_s: float = 14.0
    never_ready_share: float = 0.0
    silent_share: float = 0.0
    """Share of windows that become ready and never send a frame."""
    live_gap_share: float = 0.0
    """Share of live rows that are never sent."""
    live_jitter_s: float = 0.0
    """Most that a live row comes after its instant."""
    split_readers: bool = False
    """True: two readers of one stream share its frames; False: each gets all."""
    historic_rows_per_message: int = 10
    historic_end_s: float = 30.0
    """From the first reader to the server's abort, UNAVAILABLE "Cancelling all calls"."""
    stream_inactivity_s: float = 180.0
    disconnect_linger_s: float = 1.0
    """Time without any reader, after the first, that ends a stream server."""
    feed_period_s: float = 1.0
    feed_stale_s: float = 5.0
    """Age of the last live message (with a broker) from which live streams send nothing."""

    # Long-lived pods.
    mongodb_ready_delay_s: float = 1.0
    focus_ready_delay_s: float = 1.0
    broker: str = "auto"
    """`auto`: the sandbox's own broker when rabbitmq-server is installed; `off`: none."""
    broker_url: str = ""
    """An AMQP URL outside the sandbox, used instead of its own broker."""
    probe_period_s: int = 2

    # Ingress.
    ingress_connect_timeout_s: float = 5.0
    ingress_read_timeout_s: float = 60.0
    ingress_dialect: str = "nginx"
    """Whose error pages the ingress answers with: `nginx`, `haproxy` or `envoy`."""

    @classmethod
    def make(
        cls, mode: str = "seed", profile: str = "production", sets: tuple[str, ...] | list[str] = ()
    ) -> Settings:
        """Return the settings of a mode and profile with `key=value` texts applied; SettingsError lists all faults."""
        problems = []
        if mode not in MODES:
            problems.append(f"mode is {mode!r}: choose one of {', '.join(MODES)}")
        if profile not in PROFILES:
            problems.append(f"profile is {profile!r}: choose one of {', '.join(PROFILES)}")
        if problems:
            raise SettingsError(problems)
        values: dict[str, Any] = {
            **BY_MODE[mode],
            **BY_PROFILE[profile],
            **BY_MODE_AND_PROFILE.get((mode, profile), {}),
        }
        for text in sets:
            key, equals, value = text.partition("=")
            try:
                values[key.strip()] = _parsed(key.strip(), value.strip(), has_value=bool(equals))
            except SettingsError as error:
                problems.extend(error.problems)
        if problems:
            raise SettingsError(problems)
        settings = cls(mode=mode, profile=profile, **values)
        problems = contradictions(settings)
        if problems:
            raise SettingsError(problems)
        return settings

    def to_json(self) -> dict[str, Any]:
        """Return the values as plain JSON data."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Settings:
        """Return the settings written by `to_json`; unknown keys raise SettingsError."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = [f"unknown setting {key!r}" for key in data if key not in known]
        if unknown:
            raise SettingsError(unknown)
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return cls(**values)

    @property
    def idle_cleanup_s(self) -> float:
        """Return how long an idle window lives before its cleanup job removes it."""
        return self.cleanup_period_s * self.cleanup_low_readings

    @property
    def gpu_total(self) -> int:
        """Return the shares of all workers together."""
        return self.gpu_shares * len(self.worker_nodes)

    def image(self, program: str) -> str:
        """Return the full image name of a program (`pzlinux`, `cleanup-grpc`, `focus-server`, ...)."""
        return f"{self.image_registry}/{program}:{self.image_tag}"


BY_MODE: dict[str, dict[str, Any]] = {
    "seed": {},
    "field": {
        "focus_name": "panda-panda-focus-server",
        "focus_selector": "app.kubernetes.io/name=panda-panda-focus-server",
        "mongodb_name": "mongodb",
        "mongodb_selector": "app.kubernetes.io/instance=mongodb",
        "node_port_min": 12000,
        "admission": False,
        "max_windows": 0,
        "basic_validation": False,
        "parse_errors_500": True,
        "require_height": True,
        "status_text": "",
        "counter_resets": True,
        "node_port_base": 12300,
        "stream_url_scheme": "http://",
        "task_in_mongodb": False,
        "mongodb_check": False,
        "mongodb_timeout_s": 15.0,
        "mongodb_at_start": True,
        "broker_check": False,
        "kubernetes_check": False,
        "historic_rule": "strict",
        "historic_index_delay_s": 60.0,
        "metadata_delay_s": 45.0,
        "split_readers": True,
        "queue_leak": True,
        "service_owned": False,
        "latency_median_s": 0.34,
        "latency_p95_s": 0.76,
        "latency_per_parallel_s": 2.0,
        "errors_from_parallel": 5,
    },
}

BY_PROFILE: dict[str, dict[str, Any]] = {
    "production": {},
    "fast": {
        "node_lease_duration_s": 10.0,
        "node_heartbeat_s": 2.0,
        "node_status_s": 10.0,
        "node_monitor_s": 1.0,
        # Never below 10 s: a busy two-core machine must not lose nodes by itself.
        "node_grace_s": 10.0,
        "pod_eviction_s": 10.0,
        "pod_start_delay_s": 0.1,
        # Room for 30 windows and their cleanup pods on one node, and no more than can be taken away in seconds.
        "pod_ips": 64,
        "restart_delay_s": 5.0,
        "restart_delay_max_s": 5.0,
        "restart_reset_s": 30.0,
        "metrics_period_s": 2.0,
        "job_ttl_s": 10,
        "cleanup_ttl_s": 2,
        "cleanup_period_s": 2.0,
        "ready_delay_s": 1.0,
        "ready_delay_median_s": 1.0,
        "ready_delay_p95_s": 1.0,
        "historic_end_s": 6.0,
        "stream_inactivity_s": 30.0,
        "disconnect_linger_s": 0.5,
        "feed_stale_s": 3.0,
        "mongodb_start_timeout_s": 5.0,
        "mongodb_ready_delay_s": 0.0,
        "focus_ready_delay_s": 0.0,
        "ingress_read_timeout_s": 20.0,
        "probe_period_s": 1,
    },
}

BY_MODE_AND_PROFILE: dict[tuple[str, str], dict[str, Any]] = {
    ("field", "fast"): {
        "mongodb_timeout_s": 3.0,
        "historic_index_delay_s": 6.0,
        "metadata_delay_s": 4.0,
        "latency_median_s": 0.1,
        "latency_p95_s": 0.2,
        "latency_per_parallel_s": 0.2,
    },
}

_CHOICES: dict[str, tuple[str, ...]] = {
    "broker": ("auto", "off"),
    "cleanup_sign": ("frames", "cpu"),
    "historic_rule": ("overlap", "strict"),
    "refusal_body": ("json", "text", "error", "empty"),
    "ingress_dialect": ("nginx", "haproxy", "envoy"),
}


def keys() -> tuple[str, ...]:
    """Return the names that `--set` takes."""
    return tuple(f.name for f in dataclasses.fields(Settings) if f.name not in ("mode", "profile"))


def contradictions(settings: Settings) -> list[str]:
    """Return what cannot hold together, one sentence each; empty when all is well."""
    found = [
        f"{key}={getattr(settings, key)!r}: choose one of {', '.join(choices)}"
        for key, choices in _CHOICES.items()
        if getattr(settings, key) not in choices
    ]
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name.endswith(("_s", "_share")) and field.name != "metadata_delay_s" and value < 0:
            found.append(f"{field.name}={value}: must not be negative")
    if settings.node_grace_s < 3 * settings.node_heartbeat_s:
        found.append(
            f"node_grace_s={settings.node_grace_s} is under three heartbeats of {settings.node_heartbeat_s} s: "
            "nodes would go NotReady by themselves"
        )
    if sorted(settings.check_order) != sorted(Settings.check_order):
        found.append(
            f"check_order={','.join(settings.check_order)}: name each of {', '.join(Settings.check_order)} once"
        )
    last_port = settings.node_port_base + (settings.max_windows or 1)
    if not settings.node_port_min <= settings.node_port_base + 1 <= last_port <= settings.node_port_max:
        found.append(
            f"node ports {settings.node_port_base + 1}-{last_port} lie outside "
            f"{settings.node_port_min}-{settings.node_port_max}"
        )
    return found


def _parsed(key: str, text: str, *, has_value: bool) -> Any:
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    if key not in keys():
        raise SettingsError([f"unknown setting {key!r}: `harness sandbox up --settings` lists them"])
    if not has_value:
        raise SettingsError([f"setting {key!r} has no value: write {key}=VALUE"])
    default = fields[key].default
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return float(text)
    except (KeyError, ValueError):
        raise SettingsError([f"{key}={text!r}: expected {type(default).__name__}"]) from None
    if isinstance(default, tuple):
        return tuple(part for part in text.split(",") if part)
    return text
