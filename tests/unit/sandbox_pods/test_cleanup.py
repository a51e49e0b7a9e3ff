"""What a cleanup pod does while it may not: it goes on until everything of its window is gone."""

from pathlib import Path

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.pods import cleanup
from harness.sandbox.pods.context import PodContext
from harness.sandbox.settings import Settings


class Refusing:
    """A hand-written client of the API that refuses the first try of every deletion, and reading while `reads` is off."""

    def __init__(self) -> None:
        self.reads = True
        self.tried: list[str] = []
        self.deleted: list[str] = []

    def get(self, resource: str, name: str, namespace: str) -> Obj:
        if not self.reads:
            raise ApiStatus(403, "Forbidden", "not now")
        return {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}

    def delete(self, resource: str, name: str, namespace: str) -> None:
        if name not in self.tried:
            self.tried.append(name)
            raise ApiStatus(403, "Forbidden", "not now")
        self.deleted.append(name)


def pod(folder: Path) -> PodContext:
    return PodContext(
        name="cleanup-job-3-7-x", namespace="panda", uid="u", node="n", ip="127.0.0.1", node_ip="127.0.0.1",
        image="cleanup-grpc", container="cleanup", args=(), env={"JOB_ID": "3-7"}, volume=folder, api_url="",
        ca_file=folder, token="", truth_dir=folder,
        settings=Settings.make("field", "fast"),
    )  # fmt: skip


def test_a_refused_deletion_is_tried_again_and_the_own_job_goes_last(tmp_path: Path) -> None:
    api = Refusing()
    cleanup.clean(pod(tmp_path), api, "3-7")  # type: ignore[arg-type]
    assert api.deleted == ["grpc-service-3-7", "grpc-job-3-7", "cleanup-job-3-7"]


def test_a_refused_reading_says_nothing_about_the_window(tmp_path: Path) -> None:
    api = Refusing()
    window = cleanup.Window(pod(tmp_path), api)  # type: ignore[arg-type]
    api.reads = False
    assert [window.over() for _ in range(20)] == [None] * 20
    api.reads = True
    assert window.over() == "Complete"
