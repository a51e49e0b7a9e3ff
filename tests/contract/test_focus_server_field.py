"""The field mode of the sandbox's Focus Server: the same window, with the habits that were observed."""

import asyncio
import shutil
from collections.abc import Iterator
from typing import Any

import grpc.aio
import pytest
from focus_server_world import NAMESPACE, OPTIONS, Running, running, streamed, until

from harness.wire import pandadatastream_pb2

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("focus-server-field"),
    # grpc.aio leaves sockets to the collector when its loop is gone.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

HEIGHT: dict[str, Any] = {"displayInfo": {"height": 100}}
HAS_BROKER = shutil.which("rabbitmq-server") is not None


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = ("latency_median_s=0", "latency_per_parallel_s=0", "mongodb_timeout_s=1", "feed_stale_s=1.5")
    with running("field", tmp_path_factory.mktemp("state"), *options, mode="field") as sandbox:
        yield sandbox


@pytest.fixture
def clean(field: Running) -> Iterator[Running]:
    yield field
    field.drop_all()


def test_answers_have_the_field_s_dialect(clean: Running) -> None:
    status, body = clean.configure()
    assert status == 422
    assert body["detail"][0]["loc"] == ["body", "displayInfo"]
    status, answer = clean.configure(**HEIGHT, view_type="0")
    assert status == 200
    slot = int(answer["job_id"].partition("-")[0])
    assert answer["stream_port"] == 12300 + slot
    assert answer["stream_url"] == f"http://{clean.sandbox.node_ip('worker-node')}"
    assert answer["status"] == ""
    assert "metadata" not in answer
    ports = clean.do(lambda api: api.get("services", f"grpc-service-{answer['job_id']}", NAMESPACE))
    assert ports["spec"]["ports"][0]["nodePort"] == 12300 + slot
    assert clean.configure(**HEIGHT, frequencyRange=None) == (500, "Error parsing configuration")


def test_metadata_is_404_until_the_job_is_older(clean: Running) -> None:
    job_id = clean.configure(**HEIGHT)[1]["job_id"]
    assert clean.ask("GET", f"/focus-server/metadata/{job_id}")[0] == 404
    until(lambda: clean.ask("GET", f"/focus-server/metadata/{job_id}")[0] == 200)


def test_without_a_schedulable_worker_a_create_is_200_and_its_pod_pending(clean: Running) -> None:
    def cordon(value: bool) -> None:
        for node in clean.sandbox.settings.worker_nodes:
            clean.do(lambda api, node=node: api.patch("nodes", node, {"spec": {"unschedulable": value}}))

    cordon(True)
    try:
        status, answer = clean.configure(**HEIGHT)
        assert status == 200
        name = f"grpc-job-{answer['job_id']}"

        def phase() -> str:
            pods, _ = clean.do(lambda api: api.list("pods", NAMESPACE, labels=f"app={name}"))
            return pods[0]["status"]["phase"] if pods else ""

        until(lambda: phase() == "Pending")
        assert not clean.truth(kind="refusal")
    finally:
        cordon(False)
    until(lambda: phase() == "Running")


def test_a_slot_and_its_port_are_given_again_at_once(clean: Running) -> None:
    first = clean.configure(**HEIGHT)[1]
    clean.drop(first["job_id"])
    until(lambda: clean.truth(kind="slot_released", job_id=first["job_id"]))
    second = clean.configure(**HEIGHT)[1]
    assert second["stream_port"] == first["stream_port"]
    assert int(second["job_id"].partition("-")[2]) == int(first["job_id"].partition("-")[2]) + 1


def test_two_readers_of_one_stream_split_its_frames(clean: Running) -> None:
    _, answer = clean.configure(**HEIGHT)

    async def two() -> list[list[int]]:
        host = answer["stream_url"].removeprefix("http://")
        async with grpc.aio.insecure_channel(f"{host}:{answer['stream_port']}", options=OPTIONS) as channel:
            await asyncio.wait_for(channel.channel_ready(), 30)
            call = channel.unary_stream(
                "/pandadatastream.DataStreamService/StreamData",
                response_deserializer=pandadatastream_pb2.DataStream.FromString,
            )

            async def one() -> list[int]:
                rows: list[int] = []
                async for message in call(b""):
                    rows += message.row_index
                    if len(rows) >= 6:
                        break
                return rows

            return list(await asyncio.gather(one(), one()))

    first, second = asyncio.run(two())
    assert not set(first) & set(second)


def test_historic_windows_are_accepted_and_refused_as_in_the_recorded_run(clean: Running) -> None:
    start = 1765119503
    assert clean.configure(**HEIGHT, start_time=start, end_time=start + 7200)[0] == 200
    assert clean.configure(**HEIGHT, start_time=start - 3, end_time=start + 7197) == (
        404,
        {"error": "No recording found in given time range"},
    )


def test_without_mongodb_historic_is_500_and_live_is_200(clean: Running) -> None:
    times = {"start_time": 1765119503, "end_time": 1765119503 + 7200}
    clean.scale("mongodb", 0)
    try:
        until(lambda: clean.configure(**HEIGHT, **times)[0] == 500)
        assert clean.configure(**HEIGHT)[0] == 200
    finally:
        clean.scale("mongodb", 1)
    until(lambda: clean.configure(**HEIGHT, **times)[0] == 200)


@pytest.mark.rabbitmq
@pytest.mark.skipif(not HAS_BROKER, reason="rabbitmq-server is not installed")
def test_the_broker_has_a_window_s_queue_and_keeps_it_and_a_stopped_player_starves_its_streams(
    clean: Running,
) -> None:
    import pika

    settings = clean.sandbox.settings
    spec = clean.do(lambda api: api.get("services", settings.broker_name, NAMESPACE))["spec"]
    login = pika.PlainCredentials(settings.broker_user, settings.broker_password)
    line = pika.BlockingConnection(pika.ConnectionParameters(spec["clusterIP"], credentials=login))
    try:
        channel = line.channel()
        _, answer = clean.configure(**HEIGHT)
        queue = f"focus_baby.{answer['job_id']}"
        channel.queue_declare(queue, passive=True)
        assert asyncio.run(streamed(answer, 2))[0]
        clean.drop(answer["job_id"])
        channel.queue_declare(queue, passive=True)

        clean.scale(settings.player_name, 0)
        until(lambda: not [name for name in clean.names("pods") if name.startswith(settings.player_name)])
        _, starved = clean.configure(**HEIGHT)
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(streamed(starved, 1), 6))
        clean.scale(settings.player_name, 1)
        assert asyncio.run(streamed(starved, 1))[0]
    finally:
        clean.scale(settings.player_name, 1)
        line.close()
