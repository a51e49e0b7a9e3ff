"""Hands on a running sandbox for the tests of its Focus Server: start, ask, look, read streams, end."""

import asyncio
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio

from harness.sandbox.api import ApiStatus, RestApi, load_rest_api
from harness.sandbox.state import Sandbox, read_sandbox
from harness.sandbox.truth import read
from harness.wire import pandadatastream_pb2

T = TypeVar("T")
NAMESPACE = "panda"
OPTIONS = [
    ("grpc.max_receive_message_length", 50 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
]
"""Channel options: a window's port opens a second or so after the answer, and tests should not wait for long."""
SAMPLE: dict[str, Any] = {
    "displayTimeAxisDuration": 10,
    "nfftSelection": 1024,
    "channels": {"min": 0, "max": 50},
    "frequencyRange": {"min": 0, "max": 500},
    "start_time": None,
    "end_time": None,
    "view_type": 0,
}


class Running:
    """A running sandbox with the few hands these tests need."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def ask(self, method: str, path: str, body: Any = None, request_id: str = "") -> tuple[int, bytes]:
        line = http.client.HTTPConnection(self.sandbox.addresses.ingress_host, 8080, timeout=15)
        headers = {"Content-Type": "application/json", **({"X-Request-ID": request_id} if request_id else {})}
        try:
            line.request(method, path, None if body is None else json.dumps(body), headers)
            answer = line.getresponse()
            return answer.status, answer.read()
        finally:
            line.close()

    def configure(self, request_id: str = "", **changes: Any) -> tuple[int, Any]:
        status, body = self.ask("POST", "/focus-server/configure", SAMPLE | changes, request_id)
        return status, json.loads(body) if body.startswith((b"{", b"[")) else body.decode()

    def do(self, work: Callable[[RestApi], Awaitable[T]]) -> T:
        async def run() -> T:
            async with load_rest_api(self.sandbox.root) as api:
                return await work(api)

        return asyncio.run(run())

    def scale(self, deployment: str, replicas: int) -> None:
        patch = {"spec": {"replicas": replicas}}
        self.do(lambda api: api.patch("deployments.apps", deployment, patch, NAMESPACE))

    def names(self, resource: str) -> set[str]:
        items, _ = self.do(lambda api: api.list(resource, NAMESPACE))
        return {item["metadata"]["name"] for item in items}

    def truth(self, since_ns: int = 0, **wanted: Any) -> list[dict[str, Any]]:
        facts = [fact for fact in read(self.sandbox.truth_dir) if fact["at_ns"] >= since_ns]
        return [fact for fact in facts if all(fact.get(key) == value for key, value in wanted.items())]

    def refusal(self, request_id: str) -> dict[str, Any]:
        (fact,) = self.truth(kind="refusal", request_id=request_id)
        return fact

    def no_windows(self) -> bool:
        left = {name for resource in ("jobs.batch", "services") for name in self.names(resource)}
        return not any(name.startswith(("grpc-", "cleanup-")) for name in left)

    def can_create(self) -> bool:
        status, body = self.configure()
        if status == 200:
            self.drop(body["job_id"])
        return status == 200

    def drop(self, job_id: str) -> None:
        async def delete(api: RestApi) -> None:
            for resource, name in (
                ("services", f"grpc-service-{job_id}"),
                ("jobs.batch", f"grpc-job-{job_id}"),
                ("jobs.batch", f"cleanup-job-{job_id}"),
            ):
                try:
                    await api.delete(resource, name, NAMESPACE, grace_s=0, propagation="Background")
                except ApiStatus as error:
                    if error.code != 404:
                        raise

        self.do(delete)

    def drop_all(self) -> None:
        """Remove every window and wait until the cluster has none."""
        names = self.names("services") | self.names("jobs.batch")
        for job_id in {
            "-".join(name.rsplit("-", 2)[1:]) for name in names if name.startswith(("grpc-", "cleanup-"))
        }:
            self.drop(job_id)
        until(self.no_windows)


def until(holds: Callable[[], Any], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"{holds} did not become true within {within_s:g} s"
        time.sleep(0.1)


def start(name: str, state_home: Path, *options: str, mode: str) -> Running:
    os.environ["XDG_STATE_HOME"] = str(state_home)
    up = [sys.executable, "-m", "harness", "sandbox", "up", "--name", name, "--bound-to", str(os.getpid())]
    sets = [part for option in options for part in ("--set", option)]
    done = subprocess.run(
        [*up, "--mode", mode, "--profile", "fast", *sets],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Running(read_sandbox(name))


def stop(name: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "harness", "sandbox", "down", "--name", name],
        capture_output=True,
        timeout=60,
        check=False,
    )


@contextmanager
def running(name: str, state_home: Path, *options: str, mode: str = "seed") -> Iterator[Running]:
    """Start a sandbox in a state directory of its own; end it afterwards."""
    before = os.environ.get("XDG_STATE_HOME")
    name = f"{name}-{os.getpid()}"
    try:
        yield start(name, state_home, *options, mode=mode)
    finally:
        stop(name)
        if before is None:
            del os.environ["XDG_STATE_HOME"]
        else:
            os.environ["XDG_STATE_HOME"] = before


async def streamed(answer: dict[str, Any], messages: int) -> list[list[pandadatastream_pb2.DataStream]]:
    """Read the first messages of every stream of a window, waiting until it is ready."""
    host = answer["stream_url"].removeprefix("http://")
    async with grpc.aio.insecure_channel(f"{host}:{answer['stream_port']}", options=OPTIONS) as channel:
        await asyncio.wait_for(channel.channel_ready(), 30)
        call = channel.unary_stream(
            "/pandadatastream.DataStreamService/StreamData",
            request_serializer=pandadatastream_pb2.StreamDataRequest.SerializeToString,
            response_deserializer=pandadatastream_pb2.DataStream.FromString,
        )

        async def one(stream: int) -> list[pandadatastream_pb2.DataStream]:
            got = []
            async for message in call(pandadatastream_pb2.StreamDataRequest(stream_id=stream)):
                got.append(message)
                if len(got) == messages:
                    break
            return got

        return list(await asyncio.gather(*(one(i) for i in range(answer["stream_amount"]))))


def tasks(running: Running) -> set[str]:
    from pymongo import MongoClient

    settings = running.sandbox.settings
    spec = running.do(lambda api: api.get("services", settings.mongodb_name, NAMESPACE))["spec"]
    login = f"{settings.mongodb_user}:{settings.mongodb_password}"
    client: MongoClient[dict[str, Any]] = MongoClient(
        f"mongodb://{login}@{spec['clusterIP']}:27017/prisma?directConnection=true",
        serverSelectionTimeoutMS=5000,
    )
    with client:
        return {task["job_id"] for task in client.prisma.tasks.find()}
