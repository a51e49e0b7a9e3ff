"""The rules of the house are executed: who imports whom, what must be documented, how long a module may grow."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    file for file in (ROOT / "harness").rglob("*.py") if not file.name.startswith("pandadatastream_pb2")
)
LONGEST_MODULE = 520
TEXTS = [
    file
    for pattern in ("*.md", "*.toml", "*.lock", "Makefile", ".ci/*", "harness/**/*.py", "docs/**/*.md", "tests/**/*.py",
                    "experiments/*", "campaigns/*", "targets/*", "benchmarks/*.py", "locustfile.py")
    for file in ROOT.glob(pattern)
    if file.is_file()
]  # fmt: skip


def test_rooms_import_only_what_lies_below_them() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_module_says_what_it_is_for_and_stays_short(module: Path) -> None:
    text = module.read_text()
    assert text.lstrip().startswith(('"""', 'r"""')), "no module docstring"
    assert text.count("\n") <= LONGEST_MODULE


def test_no_room_is_a_drawer() -> None:
    drawers = {"core", "common", "utils", "util", "helpers", "helper", "manager", "base", "impl", "misc"}
    assert not [module for module in MODULES if module.stem in drawers or module.parent.name in drawers]


@pytest.mark.parametrize(
    "page",
    [
        "architecture",
        "campaigns",
        "targets",
        "faults",
        "metrics",
        "measures",
        "sandbox",
        "extending",
        "load",
        "report",
        "doctor",
    ],
)
def test_the_pages_people_need_exist(page: str) -> None:
    assert len((ROOT / "docs" / f"{page}.md").read_text().split()) > 80


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        broken.extend(
            f"{page.relative_to(ROOT)}: {link}" for link in links if not (page.parent / link).exists()
        )
    assert not broken


def test_no_file_holds_an_index_address_or_a_path_of_somebodys_machine() -> None:
    forbidden = re.compile(r"https?://[^\s\"']*(pypi|pythonhosted|npmjs)|(?<![\w.])/(home/\w+|root|work)/")
    mine = Path(__file__)
    assert not [
        f"{file}: {found[0]}"
        for file in TEXTS
        if file != mine and (found := forbidden.search(file.read_text()))
    ]


def test_the_rooms_in_the_architecture_page_are_the_rooms_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rooms = {
        path.name
        for path in (ROOT / "harness").iterdir()
        if path.is_dir() and (path / "__init__.py").exists()
    }
    assert rooms == set(re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE))


def test_the_exit_codes_in_the_docs_are_the_ones_in_the_code() -> None:
    from harness.errors import PRECEDENCE, Exit

    page = (ROOT / "docs" / "campaigns.md").read_text()
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == {
        int(code) for code in Exit
    }
    order = re.search(r"the first of ([\d, ]+) wins", page)
    assert order is not None
    told = [int(code) for code in order[1].split(", ")]
    assert told == [int(code) for code in PRECEDENCE if code not in {Exit.USAGE, Exit.OK}]
