"""A Focus Server in C, so that the client is what is measured: nginx that answers every POST /configure with the same bytes."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

CONFIG = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 16384; multi_accept on; }}
http {{
  access_log off;
  default_type application/json;
  keepalive_requests 100000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /focus-server/configure {{ {answer} }}
    location /focus-server/ack {{ return 200; }}
  }}
}}
"""
REFUSAL = '{"detail":"no slot"}'
"""20 bytes, as the field's."""


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running server."""

    url: str
    process: psutil.Process

    def freeze(self, seconds: float) -> tuple[int, int]:
        """Let it stand still; return from when to when (`time.monotonic_ns`)."""
        workers = self.process.children()
        for worker in workers:
            worker.suspend()
        began_ns = time.monotonic_ns()
        try:
            time.sleep(seconds)
        finally:
            for worker in workers:
                worker.resume()
        return began_ns, time.monotonic_ns()


@contextmanager
def nginx(status: int, body: str) -> Iterator[Nginx]:
    """Serve `body` with `status` until left; raises SystemExit where there is no nginx."""
    if shutil.which("nginx") is None:
        raise SystemExit("this part needs nginx as the server: apt-get install nginx-light")
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as made, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        config = Path(made) / "nginx.conf"
        config.write_text(CONFIG.format(folder=made, port=port, answer=_answer(Path(made), status, body)))
        process = subprocess.Popen(
            ["nginx", "-c", str(config), "-p", made], stdin=subprocess.DEVNULL, process_group=0
        )
        try:
            _until_it_listens(port)
            yield Nginx(f"http://127.0.0.1:{port}/focus-server", psutil.Process(process.pid))
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)


def _answer(folder: Path, status: int, body: str) -> str:
    """Return what answers a POST: short bodies stand in the configuration, long ones in a file, which nginx refuses to POSTs but for this."""
    if len(body) < 1000:
        return f"return {status} '{body}';"
    file = folder / "focus-server" / "configure"
    file.parent.mkdir()
    file.write_text(body)
    return f"root {folder}; error_page 405 ={status} $uri;"


def _until_it_listens(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("nginx did not listen within 5 s")
