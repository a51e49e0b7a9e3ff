import asyncio
import ipaddress
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.sandbox.node.addresses import NoAddress, PodAddresses
from harness.sandbox.node.podenv import ConfigError, References, expand, resolve_env
from harness.sandbox.node.podlog import PodLog, read_log
from harness.sandbox.node.podstatus import ContainerState, Terminated, conditions_of, phase_of
from harness.sandbox.node.proxy import Entrance, Tables
from harness.sandbox.state import sandbox_root, take_block, take_name

NETWORK = ipaddress.IPv4Network("127.16.12.0/24")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=80))
def test_no_address_is_held_twice_and_a_range_that_is_used_up_says_so(steps: list[tuple[bool, int]]) -> None:
    addresses, held = PodAddresses(NETWORK, 4), dict[str, str]()
    for takes, number in steps:
        holder = str(number)
        if not takes:
            addresses.give_back(holder)
            held.pop(holder, None)
            continue
        if len(held) == 4 and holder not in held:
            with pytest.raises(NoAddress, match="no IP addresses available"):
                addresses.take(holder)
        else:
            held[holder] = addresses.take(holder)
        assert len(set(held.values())) == len(held)


def test_an_address_given_back_is_given_out_last() -> None:
    addresses = PodAddresses(NETWORK, 3)
    first = addresses.take("a")
    addresses.give_back("a")
    assert [addresses.take(name) for name in "bcd"][-1] == first


@settings(deadline=None)
@given(parts=st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.text(max_size=20)), max_size=20))
def test_a_log_keeps_every_line_of_both_streams_in_order(
    parts: list[tuple[str, str]], tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.mktemp("log") / "0.log"
    log = PodLog(path)
    for stream, text in parts:
        log.write(stream, text.encode())
    log.close()
    for stream in ("stdout", "stderr"):
        said = "".join(text for one, text in parts if one == stream).encode()
        kept = [line.text for line in read_log(path) if line.stream == stream]
        assert "\n".join(kept) == said.decode().removesuffix("\n")


def test_a_pod_that_vanishes_while_its_log_is_opened_ends_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet removes the directory between the spawner's making it and its opening a file in it."""
    made, times = Path.mkdir, [0]

    def removed_again(path: Path, *args: Any, **named: Any) -> None:
        made(path, *args, **named)
        times[0] += 1
        if times[0] <= gone:
            path.rmdir()

    monkeypatch.setattr(Path, "mkdir", removed_again)
    for number, gone in enumerate((1, 100)):
        path, times[0] = tmp_path / f"c{number}" / "0.log", 0
        log = PodLog(path)
        log.write("stdout", b"a line\n")
        log.close()
        assert [line.text for line in read_log(path)] == (["a line"] if gone == 1 else [])


def test_a_pod_that_vanishes_while_its_log_s_directory_is_made_ends_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet removes the directory between the spawner's finding it there and its looking what it is."""
    folder, looked, seen = tmp_path / "c", Path.is_dir, []
    folder.mkdir()

    def gone(path: Path) -> bool:
        if not seen:
            path.rmdir()
        seen.append(path)
        return looked(path)

    monkeypatch.setattr(Path, "is_dir", gone)
    log = PodLog(folder / "0.log")
    log.write("stdout", b"a line\n")
    log.close()
    assert seen
    assert [line.text for line in read_log(folder / "0.log")] == ["a line"]


def ended(code: int) -> Terminated:
    return Terminated(code, "Completed" if code == 0 else "Error", "", "", "id")


@pytest.mark.parametrize(
    ("policy", "ends", "phase"),
    [
        ("Never", [0, 0], "Succeeded"),
        ("Never", [0, 1], "Failed"),
        ("Never", [0, None], "Running"),
        ("OnFailure", [0, 1], "Running"),
        ("OnFailure", [0, 0], "Succeeded"),
        ("Always", [0, 0], "Running"),
    ],
)
def test_a_pods_phase_follows_from_its_containers(policy: str, ends: list[int | None], phase: str) -> None:
    containers = []
    for number, code in enumerate(ends):
        state = ContainerState(str(number), "i")
        state.runs("then", "id")
        if code is not None:
            state.ended(ended(code))
        containers.append(state)
    assert phase_of(policy, [], containers) == phase


def test_a_condition_keeps_its_time_while_it_stays_and_others_are_left_alone() -> None:
    state = ContainerState("c", "i")
    old = conditions_of(
        [{"type": "PodScheduled", "status": "True"}],
        "Pending",
        addressed=True,
        inits=[],
        containers=[state],
        stamp="1",
    )
    state.ready = True
    new = {
        one["type"]: one
        for one in conditions_of(old, "Running", addressed=True, inits=[], containers=[state], stamp="2")
    }
    assert new["PodScheduled"] == {"type": "PodScheduled", "status": "True"}
    assert (new["Initialized"]["lastTransitionTime"], new["Ready"]["lastTransitionTime"]) == ("1", "2")


class _Objects:
    """Stands in for the API: one config map."""

    async def get(
        self, resource: str, name: str, namespace: str | None = None, subresource: str | None = None
    ) -> dict:
        from harness.sandbox.api import ApiStatus

        if (resource, name) != ("configmaps", "there"):
            raise ApiStatus(404, "NotFound", f"{name} not found")
        return {"data": {"key": "value"}}


def resolved(*env: dict) -> dict[str, str]:
    pod = {"metadata": {"name": "p", "labels": {"app": "x"}}, "spec": {}}
    references = References(_Objects(), "n")  # type: ignore[arg-type]
    return asyncio.run(resolve_env({"env": list(env)}, pod, {"status.podIP": "1.2.3.4"}, references))


def test_variables_come_from_literals_references_and_fields() -> None:
    found = resolved(
        {"name": "A", "value": "a"},
        {"name": "B", "value": "$(A)$(NONE)$$"},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "there", "key": "key"}}},
        {"name": "D", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "key", "optional": True}}},
        {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    )
    assert found == {"A": "a", "B": "a$(NONE)$", "C": "value", "E": "x", "F": "1.2.3.4"}


def test_a_missing_reference_is_named() -> None:
    with pytest.raises(ConfigError, match='configmap "gone" not found'):
        resolved({"name": "D", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "key"}}})
    with pytest.raises(ConfigError, match="couldn't find key other"):
        resolved({"name": "D", "valueFrom": {"configMapKeyRef": {"name": "there", "key": "other"}}})


@given(st.text(), st.dictionaries(st.text(min_size=1), st.text()))
def test_expanding_leaves_texts_without_a_dollar_alone(text: str, env: dict[str, str]) -> None:
    plain = text.replace("$", "")
    assert expand(plain, env) == plain


def slice_of(*endpoints: dict) -> dict:
    meta = {"namespace": "n", "name": "s-1", "labels": {"kubernetes.io/service-name": "s"}}
    return {"metadata": meta, "ports": [{"name": "", "port": 5000}], "endpoints": list(endpoints)}


def endpoint(ip: str, **conditions: bool) -> dict:
    return {"addresses": [ip], "conditions": conditions, "nodeName": "here" if ip.endswith("1") else "there"}


def test_connections_go_to_ready_endpoints_and_to_ending_ones_only_when_there_is_no_other() -> None:
    tables = Tables("here", "127.16.1.2", cluster_ips=False)
    spec = {"type": "NodePort", "clusterIP": "127.16.200.1", "ports": [{"port": 12301, "nodePort": 30001}]}
    tables.service("ADDED", {"metadata": {"namespace": "n", "name": "s"}, "spec": spec})
    (entrance,) = tables.entrances()
    assert entrance == Entrance("127.16.1.2", 30001, ("n", "s"), "")
    assert tables.backends(entrance) == []
    ready, ending = (
        endpoint("1.1.1.2", ready=True),
        endpoint("1.1.1.3", ready=False, serving=True, terminating=True),
    )
    tables.slice("ADDED", slice_of(ready, ending, endpoint("1.1.1.4", ready=False)))
    assert tables.backends(entrance) == [("1.1.1.2", 5000)]
    tables.slice("MODIFIED", slice_of(ending))
    assert tables.backends(entrance) == [("1.1.1.3", 5000)]
    tables.slice("DELETED", slice_of())
    assert tables.backends(entrance) == []


def test_cluster_addresses_are_served_by_the_master_and_local_services_locally() -> None:
    tables = Tables("here", "127.16.1.1", cluster_ips=True)
    spec = {
        "type": "NodePort",
        "clusterIP": "127.16.200.1",
        "externalTrafficPolicy": "Local",
        "ports": [{"port": 80, "nodePort": 30001}],
    }
    tables.service("ADDED", {"metadata": {"namespace": "n", "name": "s"}, "spec": spec})
    tables.slice("ADDED", slice_of(endpoint("1.1.1.1", ready=True), endpoint("1.1.1.2", ready=True)))
    node, cluster = tables.entrances()
    assert tables.backends(node) == [("1.1.1.1", 5000)]
    assert (cluster.host, len(tables.backends(cluster))) == ("127.16.200.1", 2)


def test_a_name_and_a_block_belong_to_one_sandbox_at_a_time(state_home: Path) -> None:
    root = sandbox_root("one")
    first = take_name(root)
    assert first is not None
    assert take_name(root) is None
    block, lock = take_block()
    other, second = take_block()
    assert other != block
    os.close(first)
    lock.close()
    second.close()
    again = take_name(root)
    assert again is not None
    os.close(again)


def test_a_name_that_cannot_be_one_is_refused() -> None:
    for name in ("", "Upper", "-x", "a/b", "x" * 33):
        with pytest.raises(InputError, match="use up to 32"):
            sandbox_root(name)


def test_the_command_line_starts_without_its_heavy_parts() -> None:
    code = "import sys, harness.sandbox.command; print([m for m in ('grpc', 'fastapi', 'pymongo', 'uvloop') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
