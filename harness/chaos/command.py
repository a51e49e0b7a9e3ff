"""`harness reverter` and `harness halt`: what a person types about the way back, beside `harness undo`.

The command line is all there is to it; `harness.cli` loads it when it is asked for.
"""

import time

import click
import yaml

from harness.chaos.copies import copies_in_words
from harness.chaos.deployment import (
    IMAGE,
    INSTALL_S,
    await_answer,
    install,
    reverter_objects,
    uninstall,
)
from harness.chaos.reverter import run_reverter
from harness.chaos.world import Site
from harness.cluster import connect, halt, holds_now, operator
from harness.errors import Exit, TargetError, Unreachable
from harness.target import Target, find_target, load_target

HALT_WITHIN_S = 90.0
CLEAR_S = 3.0
TARGET = click.option(
    "--target",
    metavar="NAME",
    help="Target file or its name [default: $HARNESS_TARGET, then the running sandbox].",
)


def _options(command: click.decorators.FC) -> click.decorators.FC:
    for option in reversed(
        (
            click.option(
                "--image", help=f"Image of this harness [default: the target's kube.harness_image, {IMAGE}]."
            ),
            click.option(
                "--pull-policy",
                type=click.Choice(["Always", "IfNotPresent", "Never"]),
                default="IfNotPresent",
                show_default=True,
            ),
            click.option(
                "--node-selector",
                metavar="KEY=VALUE",
                multiple=True,
                help="Where it may run [default: anywhere, control plane preferred].",
            ),
        )
    ):
        command = option(command)
    return command


@click.group()
def reverter() -> None:
    """The pod in the cluster that undoes faults when nobody outside is left to do it."""


@reverter.command("manifest")
@click.option("--namespace", default="focus-harness", show_default=True, help="The harness' own namespace.")
@click.option("--system-namespace", default="panda", show_default=True, help="Where Focus Server runs.")
@_options
def manifest(
    namespace: str, system_namespace: str, image: str | None, pull_policy: str, node_selector: tuple[str, ...]
) -> None:
    """Print its objects, for `kubectl apply -f -`; touches nothing."""
    objects = reverter_objects(
        namespace, system_namespace, image or IMAGE, pull_policy, _pairs(node_selector)
    )
    click.echo(yaml.safe_dump_all([obj for _, obj in objects], sort_keys=False), nl=False)


@reverter.command("install")
@TARGET
@_options
def install_command(
    target: str | None, image: str | None, pull_policy: str, node_selector: tuple[str, ...]
) -> None:
    """Put it into a target's cluster and wait until it answers."""
    wanted, objects = _objects_of(target, image, pull_policy, node_selector)
    cluster = connect(wanted)
    try:
        install(cluster, objects)
        version = await_answer(cluster, wanted.faults, INSTALL_S)
    finally:
        cluster.close()
    click.echo(f"the reverter {version} answers in {cluster.harness_namespace}")


@reverter.command("status")
@TARGET
def status(target: str | None) -> int:
    """Say whether it answers a test Lease; exit 10 if not."""
    wanted = load_target(find_target(target))
    cluster = connect(wanted)
    try:
        click.echo(
            f"the reverter {await_answer(cluster, wanted.faults)} answers in {cluster.harness_namespace}"
        )
    except Unreachable:
        raise
    except TargetError as error:
        click.echo(str(error), err=True)
        return Exit.FAILED
    finally:
        cluster.close()
    return Exit.OK


@reverter.command("remove")
@TARGET
def remove(target: str | None) -> None:
    """Take it out of a target's cluster; lock and entries stay."""
    wanted, objects = _objects_of(target, None, "IfNotPresent", ())
    cluster = connect(wanted)
    try:
        uninstall(cluster, objects)
    finally:
        cluster.close()
    click.echo(f"the reverter is removed from {cluster.harness_namespace}")


@reverter.command("run")
@click.option("--namespace", default="focus-harness", show_default=True, help="The harness' own namespace.")
def run(namespace: str) -> int:
    """Be the reverter of the cluster this process runs in: what its pod runs."""
    return run_reverter(namespace)


@click.command("halt")
@TARGET
def halt_command(target: str | None) -> int:
    """End the campaign that runs on a target, from any machine, and wait until its faults are undone."""
    wanted = load_target(find_target(target))
    cluster = connect(wanted)
    try:
        site = Site(cluster, wanted)
        who = halt(cluster, f"by {operator()}")
        if who is None:
            left = copies_in_words(site)
            if left:
                click.echo(f"nothing runs on {wanted.name}, but faults are in: {'; '.join(left)}", err=True)
                click.echo(f"undo them: harness undo --target {wanted.name}", err=True)
                return Exit.BROKEN
            click.echo(f"nothing runs on {wanted.name}")
            return Exit.OK
        click.echo(f"halting {who}")
        until = time.monotonic() + HALT_WITHIN_S
        clear_since: float | None = None
        while time.monotonic() < until:
            left = copies_in_words(site)
            clear_since = None if left else clear_since or time.monotonic()
            running = holds_now(cluster, who)
            # One look may fall before an injection that was under way when the halt came.
            if clear_since is not None and (not running or time.monotonic() - clear_since > CLEAR_S):
                click.echo(f"no fault is in; it {'is ending' if running else 'has ended'}")
                return Exit.OK
            time.sleep(0.2)
    finally:
        cluster.close()
    click.echo(
        f"not undone within {HALT_WITHIN_S:g} s: {'; '.join(left)}; try: harness undo --target {wanted.name}",
        err=True,
    )
    return Exit.BROKEN


def _objects_of(
    target: str | None, image: str | None, pull_policy: str, node_selector: tuple[str, ...]
) -> tuple[Target, list[tuple[str, dict[str, object]]]]:
    wanted = load_target(find_target(target))
    if wanted.kubernetes == "none":
        raise TargetError(
            f"target {wanted.name!r} has `kube: none`: there is no cluster to put a reverter into"
        )
    kube = wanted.kubernetes
    selector = _pairs(node_selector)
    objects = reverter_objects(
        kube.harness_namespace, kube.namespace, image or kube.harness_image, pull_policy, selector
    )
    return wanted, objects


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise click.BadParameter(f"{text!r} is not of the form key=value")
        pairs[key] = value
    return pairs
