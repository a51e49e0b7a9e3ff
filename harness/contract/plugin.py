"""The suite's options, for pytest: added only where the suite is asked for, so that no other suite ever meets them.

pytest loads this module by its entry point, wherever the harness is installed; a conftest would come too late for
`pytest --pyargs harness.contract --fault ...`.
"""

import pytest

SUITE = "harness.contract"


def pytest_load_initial_conftests(parser: pytest.Parser, args: list[str]) -> None:
    """Add `--fault`, `--target` and `--windows`."""
    if not any(arg.startswith(SUITE) for arg in args):
        return
    group = parser.getgroup(SUITE, "the contract of faults")
    group.addoption(
        "--fault",
        action="append",
        default=[],
        metavar="KIND",
        help="a fault's kind, or module:Class of one from outside; may be repeated (default: all)",
    )
    group.addoption(
        "--target", metavar="NAME", help="a target file (default: $HARNESS_TARGET, or the running sandbox)"
    )
    group.addoption(
        "--windows",
        type=int,
        default=2,
        metavar="N",
        help="windows opened before each fault, so that there are streams to hit (default: 2)",
    )
