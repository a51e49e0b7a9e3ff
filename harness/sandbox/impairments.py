"""What the hands do to a process that goes on running: a node's proxy or the control plane is slow, or stands still.

The supervisor writes one small file per impaired process, `impairments/ROLE.json`, and removes it again; the process
looks at it ten times a second. A file, because it outlives a restart of either and asks nothing of a process that
is frozen. What being slow means is the business of the process that looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

LOOK_S = 0.1


class Impairment(msgspec.Struct, frozen=True):
    """How a process is impaired; by default not at all."""

    delay_s: float = 0.0
    """What everything that passes through it takes longer."""
    drops: bool = False
    """Nothing passes through it."""

    def __str__(self) -> str:
        if self.drops:
            return "lets nothing through"
        return f"slower by {self.delay_s:g} s" if self.delay_s else ""


NONE = Impairment()


def impair(root: Path, role: str, impairment: Impairment) -> None:
    """Have the process `role` of the sandbox at `root` be impaired like this from now on."""
    file = _file(root, role)
    if impairment == NONE:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(exist_ok=True)
    aside = file.with_suffix(".new")
    aside.write_bytes(msgspec.json.encode(impairment))
    aside.replace(file)


def impairment_of(root: Path, role: str) -> Impairment:
    """Return how a process is impaired now."""
    try:
        return msgspec.json.decode(_file(root, role).read_bytes(), type=Impairment)
    except FileNotFoundError:
        return NONE


async def follow(root: Path, role: str, take: Callable[[Impairment], None]) -> None:
    """Call `take` with what holds now and whenever it changes, for ever."""
    known = NONE
    while True:
        found = impairment_of(root, role)
        if found != known:
            known = found
            take(found)
        await asyncio.sleep(LOOK_S)


def _file(root: Path, role: str) -> Path:
    return root / "impairments" / f"{role.replace('/', '-')}.json"
