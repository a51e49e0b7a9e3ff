"""fibre: does Focus Server know the fibre. Cause of a 503 for live windows: waiting_for_fibre."""

from harness.doctor.asking import NoAnswer
from harness.doctor.result import Advice, CannotLook, CheckResult, Evidence, fine, found
from harness.doctor.sight import Sight
from harness.doctor.way import shown
from harness.errors import HarnessError
from harness.focus.answers import parse_live_metadata
from harness.target import RoleName

NAME = "fibre"
ASKS = "GET /live_metadata: prr and sw_version"


def look(sight: Sight) -> CheckResult:
    """Ask Focus Server; whoever waits says a prr of 0."""
    url = f"{sight.target.url}/live_metadata"
    try:
        reply = sight.asking.get(url)
    except NoAnswer as error:
        raise CannotLook(f"Focus Server does not say: {error}") from error
    if reply.status != 200:
        raise CannotLook(f"Focus Server does not say: GET /live_metadata answered {reply.status}")
    try:
        told = parse_live_metadata(reply.body)
    except (HarnessError, ValueError) as error:
        raise CannotLook(f"its answer cannot be read: {error}") from error
    evidence = Evidence(
        f"GET {shown(url)}",
        f"prr {told.prr:g}, sw_version {told.sw_version!r}",
        {"prr": told.prr, "sw_version": told.sw_version},
    )
    if not told.waiting_for_fiber:
        return fine(NAME, f"prr {told.prr:g}", evidence)
    advice = [Advice("start-player", "nobody feeds it")] if _player_is_off(sight) else []
    return found(
        NAME,
        "Focus Server waits for the fibre: live windows are refused; do not retry, connect the fibre or start what feeds it",
        evidence,
        cause="waiting_for_fibre",
        refuses=True,
        advice=tuple(advice),
    )


def _player_is_off(sight: Sight) -> bool:
    try:
        player = sight.workload(RoleName.PLAYER)
    except CannotLook:
        return False
    return player is not None and int(player["spec"].get("replicas", 1)) == 0
