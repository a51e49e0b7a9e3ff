"""What people and programs read: the page, the JSON document, and the manual against the tuples."""

import json
import os
import re
from pathlib import Path

from fake_cluster import FakeCluster

from harness.doctor.checks import CHECKS
from harness.doctor.command import plans_of, where_of
from harness.doctor.diagnosis import diagnose
from harness.doctor.document import document, in_json
from harness.doctor.examine import examine
from harness.doctor.page import Page
from harness.doctor.remedies import REMEDIES

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "golden" / "doctor.json"


def ill(cluster: FakeCluster) -> FakeCluster:
    for slot in (1, 2, 3):
        cluster.window(f"{slot}-{slot}", job=False, cleanup=False)
    cluster.kept["nodes", "worker-1"]["spec"]["unschedulable"] = True
    cluster.refused_kinds = {"events"}
    return cluster


def test_the_json_is_what_it_was(cluster: FakeCluster) -> None:
    sight = ill(cluster).sight()
    seen = diagnose(examine(sight))
    doc = in_json(
        document(
            seen,
            plans_of(seen, sight),
            target="fake",
            cluster="uid-of-fake",
            at="2026-01-01T12:00:00+00:00",
            exit_code=int(seen.code),
        )
    )
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(doc + "\n")
    assert json.loads(doc) == json.loads(GOLDEN.read_text()), "if this is wanted: UPDATE_GOLDEN=1"


def test_the_page_says_the_cause_first_and_fits(cluster: FakeCluster) -> None:
    sight = ill(cluster).sight()
    seen = diagnose(examine(sight))
    page = Page(100).whole(seen, plans_of(seen, sight), where_of(sight), "export KUBECONFIG=x")
    first = page.index("Most likely cause of a 503 now: max_windows")
    assert (
        first
        < page.index("behind it: 3 of 3 slots")
        < page.index("kubectl --context panda-cluster -n panda delete service grpc-service-1-1")
    )
    assert "??  pod-network" in page
    assert "\x1b" not in page
    assert all(len(line) <= 100 for line in page.splitlines())
    assert "-l app" not in page
    coloured = Page(100, colour=True).whole(seen, plans_of(seen, sight), where_of(sight))
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured).splitlines()[:30] == page.splitlines()[:30]


def test_the_manual_has_every_check_and_every_remedy() -> None:
    manual = (ROOT / "docs" / "doctor.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \|", manual, re.MULTILINE)
    assert rows == [*(check.name for check in CHECKS), *(remedy.name for remedy in REMEDIES)]


def test_every_file_of_a_check_is_in_the_tuple() -> None:
    files = {file.stem.replace("_", "-") for file in (ROOT / "harness/doctor/checks").glob("*.py")} - {
        "--init--"
    }
    assert files == {check.name for check in CHECKS}
