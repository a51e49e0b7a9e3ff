"""People's own users in a campaign: is the locustfile there, can it be imported, has it what the campaign names; and the feed.

The file is imported by a process of its own, as the load will import it: Locust never comes into this one.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.campaign import Campaign
from harness.documents import line_of
from harness.errors import FileProblems, InputError, Problem
from harness.load.feed import FeedPlan, read_rows
from harness.load.plan import OwnPlan, OwnSeen

LONGEST_S = 60.0
"""A locustfile that takes longer than this to import is refused: the load's first window would come late."""


def beside(campaign_file: Path, name: str) -> Path:
    """Return a file that a campaign names: paths are relative to the campaign's own folder."""
    return (campaign_file.parent / name).resolve()


def own_plan(campaign: Campaign, campaign_file: Path) -> OwnPlan | None:
    """Return the load process' orders for own users."""
    own = campaign.load.locustfile
    if own is None:
        return None
    return OwnPlan(
        file=str(beside(campaign_file, own.file)),
        users=own.users,
        shape=own.shape,
        tags=own.tags,
        exclude_tags=own.exclude_tags,
    )


def feed_plan(campaign: Campaign, campaign_file: Path) -> FeedPlan | None:
    """Return the load process' orders for the feed."""
    feed = campaign.load.feed
    if feed is None:
        return None
    return FeedPlan(file=str(beside(campaign_file, feed.file)), order=feed.order)


def problems_of_own(file: Path, campaign: Campaign) -> list[Problem]:
    """Return everything that is wrong with the locustfile and the feed a campaign names, each with its place."""
    return [*_locustfile(file, campaign), *_feed(file, campaign)]


def _locustfile(file: Path, campaign: Campaign) -> list[Problem]:
    own = campaign.load.locustfile
    if own is None:
        return []

    def wrong(key: str, text: str) -> Problem:
        return Problem(
            str(file), line_of(file, ("load", "locustfile", key)), f"load.locustfile.{key}: {text}"
        )

    path = beside(file, own.file)
    if not path.is_file():
        return [wrong("file", f"{path}: no such file; paths are relative to the campaign file")]
    try:
        seen = _look(path)
    except InputError as error:
        return [wrong("file", str(error))]
    if seen.problems:
        return [Problem(_shown(name, path, own.file, file), line, text) for name, line, text in seen.problems]
    found = [
        wrong("users", f"{own.file} has no user class {name!r}; it has {_listed(seen.users)}")
        for name in own.users
        if name not in seen.users
    ]
    if own.shape and own.shape not in seen.shapes:
        found.append(wrong("shape", f"{own.file} has no shape {own.shape!r}; it has {_listed(seen.shapes)}"))
    return found


def _look(path: Path) -> OwnSeen:
    command = [sys.executable, "-m", "harness.load", "--look", str(path)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{path}: importing it takes longer than {LONGEST_S:g} s") from error
    try:
        return msgspec.json.decode(done.stdout, type=OwnSeen)
    except msgspec.MsgspecError as error:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise InputError(
            f"{path}: importing it ended the process (exit code {done.returncode}): {last}"
        ) from error


def _shown(name: str, path: Path, as_given: str, campaign_file: Path) -> str:
    """Return the locustfile's name as a person would type it; other files (one that it imports) by their own."""
    return str(campaign_file.parent / as_given) if Path(name).resolve() == path else name


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _feed(file: Path, campaign: Campaign) -> list[Problem]:
    feed = campaign.load.feed
    if feed is None:
        return []
    try:
        read_rows(file.parent / feed.file)
    except FileProblems as error:
        return list(error.problems)
    except InputError as error:
        line = line_of(file, ("load", "feed", "file"))
        return [Problem(str(file), line, f"load.feed.file: {error}; paths are relative to the campaign file")]
    return []
