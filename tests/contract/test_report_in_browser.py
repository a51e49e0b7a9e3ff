"""The page in a real browser: the read-out shows the second that is pointed at, and nothing goes wrong on the console."""

import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from harness.judge.findings import Findings

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="install a browser (Debian: apt install chromium)")

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
POINT = """<script>
window.addEventListener("load", function () {
  var figure = document.getElementById("timeline-figure"), svg = figure.querySelector("svg.wide");
  var area = svg.getBoundingClientRect(), left = +svg.dataset.left, right = +svg.dataset.right;
  var x = left + (right - left) * (52.5 / svg.dataset.end);
  figure.dispatchEvent(new PointerEvent("pointermove", {
    clientX: area.left + x * area.width / svg.viewBox.baseVal.width, clientY: area.top + 90
  }));
  document.title = document.getElementById("readout").innerText.replace(/\\n/g, "; ");
  figure.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
  document.body.dataset.next = document.getElementById("readout").innerText.split("\\n")[0];
  figure.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}));
  document.body.dataset.hidden = document.getElementById("readout").hidden;
});
window.addEventListener("error", function (event) { document.body.dataset.wrong = event.message; });
</script>"""


@pytest.mark.timeout(180)
def test_pointing_at_the_timeline_reads_that_second(tmp_path: Path) -> None:
    findings = msgspec.json.decode((GOLDEN / "findings.json").read_bytes(), type=Findings)
    page = tmp_path / "report.html"
    page.write_text((GOLDEN / "report.html").read_text().replace("</body>", POINT + "</body>"))
    assert BROWSER is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [
            BROWSER,
            *options,
            "--window-size=1280,900",
            "--virtual-time-budget=2000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=150,
        check=True,
    )
    body = re.search(r"<body[^>]*>", done.stdout)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert body
    assert title
    assert "data-wrong" not in body[0]
    second = findings.seconds[52]
    told = title[1].split("; ")
    assert [told[0].split(), told[1]] == [["0:52", "hold"], "cordon-worker in"]
    assert f"{second.refused_503} refused with 503" in told
    assert f"slots {second.slots})" in told[2]
    assert 'data-next="0:53' in body[0]
    assert 'data-hidden="true"' in body[0]
