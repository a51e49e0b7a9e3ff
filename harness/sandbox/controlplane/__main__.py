"""`python -m harness.sandbox.controlplane --state DIR --listen IP:PORT`: a control plane alone.

For trying the API without nodes, for the contract tests, and for comparisons with a real server. It prints one line
when it answers and ends at SIGTERM, SIGINT, or when its standard input closes under `--lifeline`.
"""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

import uvloop

from harness.sandbox.controlplane.addresses import Ranges
from harness.sandbox.controlplane.server import ControlPlane, Plan, serve
from harness.sandbox.controlplane.store import WINDOW


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m harness.sandbox.controlplane", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="directory for credentials")
    parser.add_argument("--listen", default="127.0.0.1:6443", help="IP:PORT to listen on")
    parser.add_argument("--world", choices=("", "conformance"), default="", help="objects to start with")
    parser.add_argument("--cluster-ips", default="10.96.0.0/16", help="block of ClusterIPs")
    parser.add_argument("--node-ports", default="12300-32767", help="range of node ports")
    parser.add_argument("--window", type=int, default=WINDOW, help="changes kept per resource for watches")
    parser.add_argument("--no-controllers", action="store_true", help="the API alone")
    parser.add_argument("--lifeline", action="store_true", help="end when standard input closes")
    return parser.parse_args()


def _plan(arguments: argparse.Namespace) -> Plan:
    host, _, port = arguments.listen.rpartition(":")
    first, last = (int(n) for n in arguments.node_ports.split("-"))
    ranges = Ranges(arguments.cluster_ips, first, last)
    return Plan(
        arguments.state,
        host,
        int(port),
        ranges,
        arguments.window,
        arguments.world,
        controllers=not arguments.no_controllers,
    )


def _tell(plane: ControlPlane) -> None:
    print(f"ready https://{plane.plan.host}:{plane.plan.port}", flush=True)  # noqa: T201 - for whoever started it


async def _run(arguments: argparse.Namespace) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if arguments.lifeline:
        loop.add_reader(sys.stdin.fileno(), stop.set)
    await serve(_plan(arguments), stop, _tell)


def main() -> None:
    """Run until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    uvloop.run(_run(_arguments()))


if __name__ == "__main__":
    main()
