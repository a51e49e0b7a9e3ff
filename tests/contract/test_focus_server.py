"""The seed mode of the sandbox's Focus Server, through the ingress and the API of one running sandbox.

The seed's sample request, a window's whole life, and each of the six causes for real, with what the truth log kept.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import grpc.aio
import pytest
from focus_server_world import NAMESPACE, OPTIONS, SAMPLE, Running, running, streamed, tasks, until

from harness.sandbox.api import RestApi
from harness.sandbox.pods.payload import matches
from harness.wire import pandadatastream_pb2

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("focus-server-seed"),
    # grpc.aio and pymongo leave sockets to the collector when their loop is gone.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

OPAQUE = {"detail": "Service Unavailable"}
BINDINGS = "rolebindings.rbac.authorization.k8s.io"


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = ("broker=off", "max_windows=3", "gpu_shares=3", "historic_end_s=1.5")
    with running("seed", tmp_path_factory.mktemp("state"), *options) as sandbox:
        until(sandbox.can_create)
        until(sandbox.no_windows)
        yield sandbox


@pytest.fixture
def clean(seed: Running) -> Iterator[Running]:
    yield seed
    seed.drop_all()


def test_the_sample_request_opens_a_window_that_streams_and_is_gone_after_disconnect(clean: Running) -> None:
    status, answer = clean.configure("sample")
    assert status == 200
    slot, _, counter = answer["job_id"].partition("-")
    assert 1 <= int(slot) <= 3
    assert counter.isdigit()
    assert answer["stream_port"] == 30000 + int(slot)
    assert answer["stream_url"] == clean.sandbox.node_ip("worker-node")
    assert (answer["stream_amount"], answer["channel_amount"], answer["lines_dt"]) == (3, 51, 0.1)
    assert len(answer["frequencies_list"]) == answer["frequencies_amount"] == 256
    job_id = answer["job_id"]
    service = clean.do(lambda api: api.get("services", f"grpc-service-{job_id}", NAMESPACE))
    assert service["spec"]["ports"][0]["port"] == 12300 + int(slot)
    assert {f"grpc-job-{job_id}", f"cleanup-job-{job_id}"} <= clean.names("jobs.batch")
    assert job_id in tasks(clean)

    for stream, messages in enumerate(asyncio.run(streamed(answer, 5))):
        rows = [row for message in messages for row in message.row_index]
        assert rows == list(range(rows[0], rows[0] + 5))
        first, last = answer["channel_to_stream_index"], messages[0]
        assert first[str(last.start_channel)] == first[str(last.end_channel)] == stream
        for message in messages:
            assert message.data_shape_x == 17 * 256
            assert all(
                matches(job_id, stream, row, data)
                for row, data in zip(message.row_index, message.main_data, strict=True)
            )
    # Two seconds' cleanup period plus a second: a slot comes back within about five seconds.
    until(clean.no_windows, 15)
    assert job_id not in tasks(clean)
    until(lambda: clean.truth(kind="slot_released", job_id=job_id))
    assert clean.truth(kind="slot_granted", job_id=job_id, request_id="sample")
    assert clean.truth(kind="ready", job_id=job_id)


def test_a_historic_window_sends_its_recording_and_is_cancelled_by_the_server(clean: Running) -> None:
    status, answer = clean.configure(
        start_time=1765119503,
        end_time=1765119503 + 7200,
        displayTimeAxisDuration=300,
        displayInfo={"height": 600},
    )
    assert status == 200
    assert answer["metadata"]["parent"]["prr"] == 2000

    async def read_to_the_end() -> tuple[list[Any], grpc.aio.AioRpcError]:
        host = answer["stream_url"].removeprefix("http://")
        async with grpc.aio.insecure_channel(f"{host}:{answer['stream_port']}", options=OPTIONS) as channel:
            await asyncio.wait_for(channel.channel_ready(), 30)
            call = channel.unary_stream(
                "/pandadatastream.DataStreamService/StreamData",
                response_deserializer=pandadatastream_pb2.DataStream.FromString,
            )
            got = []
            try:
                async for message in call(b""):
                    got.append(message)  # noqa: PERF401 - what came before the error counts
            except grpc.aio.AioRpcError as error:
                return got, error
        raise AssertionError("the stream ended without an error")

    messages, error = asyncio.run(read_to_the_end())
    assert len(messages) == 8
    assert [row for message in messages for row in message.row_index] == list(range(80))
    assert 170_000 < messages[0].ByteSize() < 180_000
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "Cancelling all calls")


def test_a_window_without_recording_is_404(seed: Running) -> None:
    status, body = seed.configure(start_time=1000, end_time=2000)
    assert (status, body) == (404, {"error": "No recording found in given time range"})


def test_the_other_endpoints_answer_as_seen(seed: Running) -> None:
    def get(path: str) -> tuple[int, Any]:
        status, body = seed.ask("GET", f"/focus-server{path}")
        return status, json.loads(body)

    assert get("/ack") == (200, {})
    assert get("/channels") == (200, {"lowest_channel": 1, "highest_channel": 2337})
    assert get("/live_metadata")[1]["prr"] == 2000.0
    assert get("/metadata/9-9") == (404, {"error": "Invalid job_id"})
    for absent in ("/health", "/sensors", "/waterfall/1/1"):
        assert get(absent) == (404, {"detail": "Not Found"})
    assert seed.ask("DELETE", "/focus-server/job/1-1")[0] == 404
    assert seed.ask("GET", "/focus-server/configure")[0] == 405
    assert seed.ask("POST", "/focus-server/ack")[0] == 405
    assert seed.ask("GET", "/elsewhere")[0] == 404
    day = {"start_time": 1765119480, "end_time": 1765119600}
    status, body = seed.ask("POST", "/focus-server/recordings_in_time_range", day)
    assert status == 200
    assert [span[1] > 0 for span in json.loads(body)] == [True, True, False]
    status, body = seed.ask("GET", "/focus-server/get_recordings_timeline")
    assert (status, body[:15]) == (200, b"<!DOCTYPE html>")


def test_a_body_without_channels_is_422_with_a_detail_list(seed: Running) -> None:
    status, body = seed.ask("POST", "/focus-server/configure", {"view_type": 0})
    assert status == 422
    assert json.loads(body)["detail"][0]["loc"] == ["body", "channels"]


def test_max_windows_is_refused_and_a_freed_slot_is_given_again(clean: Running) -> None:
    opened = [clean.configure()[1]["job_id"] for _ in range(3)]
    assert sorted(job_id.partition("-")[0] for job_id in opened) == ["1", "2", "3"]
    assert clean.configure("full") == (503, OPAQUE)
    fact = clean.refusal("full")
    assert (fact["primary"], fact["causes"], fact["held"]) == ("max_windows", ["max_windows"], 3)
    second = next(job_id for job_id in opened if job_id.startswith("2-"))
    clean.drop(second)
    until(lambda: clean.truth(kind="slot_released", job_id=second))
    assert clean.configure()[1]["job_id"].startswith("2-")


def test_no_free_share_anywhere_is_gpu_exhausted(clean: Running) -> None:
    share = {"nvidia.com/gpu.shared": "3"}

    async def saturate(api: RestApi) -> None:
        for number in (1, 2):
            container = {"name": "hog", "image": "registry.sandbox/hog:1", "resources": {"limits": share}}
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"hog-{number}"},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
            }
            await api.create("pods", pod, "default")

    async def release(api: RestApi) -> None:
        for number in (1, 2):
            await api.delete("pods", f"hog-{number}", "default", grace_s=0)

    since_ns = time.monotonic_ns()
    clean.do(saturate)
    try:
        until(lambda: clean.truth(since_ns, kind="shares", registered_free=0))
        assert clean.configure("hogs") == (503, OPAQUE)
        assert clean.refusal("hogs")["causes"] == ["gpu_exhausted"]
    finally:
        clean.do(release)
    until(clean.can_create)


def test_shares_only_on_cordoned_workers_are_worker_unavailable(clean: Running) -> None:
    def cordon(value: bool) -> None:
        for node in clean.sandbox.settings.worker_nodes:
            clean.do(lambda api, node=node: api.patch("nodes", node, {"spec": {"unschedulable": value}}))

    since_ns = time.monotonic_ns()
    cordon(True)
    try:
        until(lambda: clean.truth(since_ns, kind="shares", available_free=0))
        assert clean.configure("cordoned") == (503, OPAQUE)
        assert clean.refusal("cordoned")["causes"] == ["worker_unavailable"]
    finally:
        cordon(False)
    until(clean.can_create)


def test_lost_rights_are_kubernetes_unreachable(clean: Running) -> None:
    binding = clean.do(lambda api: api.get(BINDINGS, "focus-server", NAMESPACE))
    clean.do(lambda api: api.delete(BINDINGS, "focus-server", NAMESPACE))
    try:
        time.sleep(0.3)
        assert clean.configure("rights") == (503, OPAQUE)
        assert clean.refusal("rights")["primary"] == "kubernetes_unreachable"
    finally:
        for key in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
            binding["metadata"].pop(key, None)
        clean.do(lambda api: api.create(BINDINGS, binding, NAMESPACE))
    until(clean.can_create)
    assert [fact["allowed"] for fact in clean.truth(kind="right", of="create jobs")][-2:] == [False, True]


def test_an_absent_mongodb_is_mongodb_unavailable(clean: Running) -> None:
    since_ns = time.monotonic_ns()
    clean.scale("mongodb-panda", 0)
    try:
        until(lambda: clean.truth(since_ns, kind="dependency", of="mongodb_unavailable", answers=False))
        began = time.monotonic()
        assert clean.configure("mongo") == (503, OPAQUE)
        assert time.monotonic() - began < 5
        assert clean.refusal("mongo")["causes"] == ["mongodb_unavailable"]
        assert clean.no_windows()
    finally:
        clean.scale("mongodb-panda", 1)
        until(clean.can_create)


def test_an_absent_focus_server_is_a_503_of_the_ingress(clean: Running) -> None:
    clean.scale("focus-server", 0)
    try:
        until(lambda: clean.ask("GET", "/focus-server/ack")[0] == 503)
        status, body = clean.ask("POST", "/focus-server/configure", SAMPLE, "absent")
        assert status == 503
        assert b"<center>nginx</center>" in body
        (fact,) = clean.truth(kind="ingress_error", request_id="absent")
        assert (fact["status"], fact["causes"]) == (503, ["focus_server_down"])
    finally:
        clean.scale("focus-server", 1)
    until(clean.can_create)


def test_a_create_that_fails_half_way_leaves_nothing(clean: Running) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-more-services"},
        "spec": {"hard": {"count/services": "0"}},
    }
    clean.do(lambda api: api.create("resourcequotas", quota, NAMESPACE))
    try:
        until(lambda: clean.configure("half")[0] == 503)
        (fact, *_) = clean.truth(kind="refusal", request_id="half")
        assert fact["primary"] == "kubernetes_unreachable"
        until(lambda: clean.truth(kind="rolled_back", job_id=fact["job_id"]))
        assert not {name for name in clean.names("jobs.batch") if fact["job_id"] in name}
        assert fact["job_id"] not in tasks(clean)
    finally:
        clean.do(lambda api: api.delete("resourcequotas", "no-more-services", NAMESPACE))
    until(clean.can_create)


def test_the_server_s_log_never_tells_the_cause_of_a_refusal(clean: Running) -> None:
    for _ in range(3):
        clean.configure()
    assert clean.configure()[0] == 503
    (pod,) = [name for name in clean.names("pods") if name.startswith("focus-server-")]
    log = clean.do(lambda api: api.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/log"))[
        "message"
    ]
    assert "got configuration:" in log
    for word in ("max_windows", "MaxWindows", "refus", "exhausted", "limit reached"):
        assert word not in log
