"""What one would write with Locust alone for `POST /configure` at a rate: users who pace themselves (the peer of benchmarks.arrivals)."""

import os

from locust import FastHttpUser, HttpUser, constant, constant_throughput, task

BODY = {"channels": {"min": 1, "max": 50}, "nfftSelection": 1024, "displayInfo": {"height": 100}}
PER_USER_S = float(os.environ.get("PER_USER_S", "2"))
BASE = {"requests": HttpUser, "fast": FastHttpUser}[os.environ.get("BASE", "fast")]


class Pacing(BASE):  # type: ignore[misc,valid-type]
    """Asks `PER_USER_S` times per second, or (0) as often as answers come."""

    wait_time = constant_throughput(PER_USER_S) if PER_USER_S else constant(0)

    @task  # type: ignore[untyped-decorator]
    def configure(self) -> None:
        """Ask for a window; a 503 is an answer."""
        with self.client.post("/configure", json=BODY, catch_response=True) as answer:
            if answer.status_code in (200, 503):
                answer.success()
