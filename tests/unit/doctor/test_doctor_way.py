"""How the doctor asks over the network: it shows no credentials, sends none astray, and tries every address of a name."""

import http.server
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fake_cluster import TARGET, FakeCluster
from test_doctor_checks import diagnosed

from harness.doctor.asking import NoAnswer, RealAsking
from harness.doctor.command import where_of
from harness.doctor.document import in_json
from harness.doctor.way import shown
from harness.target import Target

SECRET = "S3cr3t"


class Server(http.server.ThreadingHTTPServer):
    """Answers 200, and keeps what it was sent."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append(self.headers.get("Authorization"))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as here:
        thread = threading.Thread(target=here.serve_forever, args=(0.05,))
        thread.start()
        yield here
        here.shutdown()
        thread.join()


def real(**changes: Any) -> RealAsking:
    return RealAsking(Target.model_validate({**TARGET, **changes}), None)


def test_the_targets_headers_go_to_the_targets_url_only(server: Server) -> None:
    headers = {"Authorization": f"Bearer {SECRET}"}
    through = f"http://localhost:{server.server_port}"
    asking = real(url=f"{through}/focus-server", headers=headers)
    assert asking.get(f"{through}/focus-server/ack").status == 200
    assert (
        asking.get(f"http://127.0.0.1:{server.server_port}/ack").status == 200
    )  # as directly from a Service or a pod
    assert server.seen == [f"Bearer {SECRET}", None]


def test_every_address_of_a_name_is_tried(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def two(host: str, port: int, *more: Any, **options: Any) -> list[Any]:
        if host != "dual.example":
            return resolve(host, port, *more, **options)
        closed = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))
        return [closed, *resolve("127.0.0.1", port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    assert real().get(f"http://dual.example:{server.server_port}/ack").status == 200


@pytest.mark.parametrize("uri", ["{}://user:Se/cr3t@host/", "{}://user:1%@cr3t:x@host:y/", "nonsense"])
def test_a_uri_that_cannot_be_read_is_told_without_a_part_of_its_password(uri: str) -> None:
    told = []
    for ask in (
        lambda: real().mongodb(uri.format("mongodb")),
        lambda: real().broker(uri.format("amqp"), ()),
        lambda: real().get(uri.format("http") if "{}" in uri else "http://host:Se/x"),
    ):
        with pytest.raises(NoAnswer) as no:
            ask()
        assert no.value.step == "uri"
        told.append(str(no.value))
    assert all("cr3t" not in text and "Se" not in text.replace("Server", "") for text in told)


@pytest.mark.parametrize("userinfo", ["user:S3cr3t@", "S3cr3t@", "user:p@S3cr3t@", "user:p/S3cr3t@"])
def test_no_page_and_no_document_shows_the_urls_credentials(cluster: FakeCluster, userinfo: str) -> None:
    url = f"http://{userinfo}ingress/focus-server"
    assert shown(url) == "http://***@ingress/focus-server"
    assert shown("http://ingress/x") == "http://ingress/x"
    for path in ("/ack", "/live_metadata"):
        cluster.replies[f"{url}{path}"] = cluster.replies[f"http://ingress/focus-server{path}"]
    answers = [in_json(one) for one in diagnosed(cluster, url=url).results]
    cluster.answer("/ack", 404)
    cluster.replies[f"{url}/ack"] = cluster.replies["http://ingress/focus-server/ack"]
    answers += [in_json(one) for one in diagnosed(cluster, url=url).results]
    answers.append(where_of(cluster.sight(url=url, kube="none")))
    assert [text for text in answers if SECRET in text] == []
