"""The way to the server or to a stream: name, connection, certificate, ingress, node port."""

import re

import numpy as np

from harness.history.events import Outcome
from harness.judge.blame.bodies import FRONT, LOCAL
from harness.judge.blame.cause import Cause, Claim, Claims, strongest, where
from harness.judge.blame.creates import POLL_NS, WATCH_NS, Creates
from harness.judge.blame.lives import NODE_GRACE_NS, Life, S
from harness.judge.sightings import DOWN, UNKNOWN

_NAME_OR_TRUST = re.compile(
    r"certificate|SSL|TLS|Name or service not known|nodename nor servname|getaddrinfo|Temporary failure in name",
    re.IGNORECASE,
)
READY_FOR_NS = 2 * S
"""A pod that has been Ready for this long can be reached if the way is free."""
TOGETHER = 2
"""So many other windows of a node that end badly with one make its way the reason."""


def of_creates(creates: Creates) -> Claims:
    """Claim what never came to the server: no connection, a bad certificate, no route; or no answer while its pods are well."""
    by_text = np.array([bool(_NAME_OR_TRUST.search(text)) for text in creates.texts], dtype=bool)
    named = by_text[creates.rows["body"]] if len(by_text) else np.zeros(len(creates), dtype=bool)
    failed = creates.ended(Outcome.CONNECT_FAILED, Outcome.CONNECT_TIMEOUT) & (creates.writers != LOCAL)
    silent = creates.ended(Outcome.READ_TIMEOUT, Outcome.UNKNOWN)
    ready = creates.world.ready_pods["focus_server"].steps
    gone = creates.ever(ready, DOWN, WATCH_NS, WATCH_NS) | creates.ever(ready, UNKNOWN)
    unreached = creates.world.unreached.highest(creates.sent_ns - WATCH_NS, creates.done_ns + POLL_NS) == 1
    front = creates.ended(Outcome.INGRESS_502_504) | ((creates.writers == FRONT) & creates.refused)
    return strongest(
        where(failed & named, Claim.CERTAIN),
        where(failed | (silent & unreached & ~gone), Claim.LIKELY),
        where(creates.ended(Outcome.NOT_FOUND_404), Claim.LIKELY),
        where(front & ~gone, Claim.POSSIBLE),
    )


def of_window(life: Life) -> Claim:
    """Claim a window whose pod was well while its stream could not be reached or was cut, with others of its node."""
    if not life.pods or life.node_was_away(life.suffered_ns[0], life.at_ns + NODE_GRACE_NS):
        return Claim.NO
    if life.outcome is Outcome.PENDING_NO_START:
        return Claim.LIKELY if _was_cut_off(life) else Claim.NO
    if life.lost_by(life.at_ns + S):
        return Claim.NO
    together = life.broke_together() >= TOGETHER
    if life.outcome is Outcome.STREAM_NO_FRAME:
        fed = not (life.down("broker", 5 * S) or life.down("player", 5 * S))
        return Claim.LIKELY if together and fed else Claim.NO
    if life.outcome in (Outcome.STREAM_BROKEN, Outcome.STREAM_BROKEN_BEFORE_DATA):
        return Claim.LIKELY if together else Claim.POSSIBLE
    return Claim.NO


def _was_cut_off(life: Life) -> bool:
    """Return whether its pod was Ready for a good while and was not reached, nor was any other on its node meanwhile."""
    if life.up_ns is None:
        return False
    since_ns, until_ns = life.up_ns
    open_way = life.cluster.reached(life.node, since_ns + S, until_ns + S)
    return (
        until_ns - since_ns >= READY_FOR_NS
        and not open_way
        and life.cluster.unreached_beside(life) >= TOGETHER
    )


CAUSE = Cause(
    name="path",
    heading="The way was broken",
    sentence="Name, connection, certificate, ingress or node port: the request or the stream did not get through.",
    remedy="look at DNS, TLS, the ingress and the nodes' ports",
    needs=frozenset({"focus_server"}),
    creates=of_creates,
    window=of_window,
)
