"""Which clients a pod's NetworkPolicies let in: rules, peers, ports, told by hand."""

from typing import Any

import pytest

from harness.sandbox.node.policies import Policies

SERVER, FRIEND, STRANGER, AWAY, OUTSIDE = "127.9.11.1", "127.9.11.2", "127.9.11.3", "127.9.12.1", "127.0.0.1"
EVERYBODY = {FRIEND, STRANGER, AWAY, OUTSIDE}
FRIENDS = {"podSelector": {"matchLabels": {"app": "friend"}}}


def pod(name: str, ip: str, app: str, namespace: str = "panda", phase: str = "Running") -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace, "labels": {"app": app}}
    return {"metadata": meta, "status": {"podIP": ip, "phase": phase}}


def policies(*specs: dict[str, Any], namespace: str = "panda") -> Policies:
    """Return what is known of a small cluster with policies for the pod at SERVER."""
    known = Policies()
    known.pod("ADDED", pod("server", SERVER, "server"))
    known.pod("ADDED", pod("friend", FRIEND, "friend"))
    known.pod("ADDED", pod("stranger", STRANGER, "stranger"))
    known.pod("ADDED", pod("friend", AWAY, "friend", "away"))
    for name in ("panda", "away"):
        labels = {"kubernetes.io/metadata.name": name}
        known.namespace("ADDED", {"metadata": {"name": name, "labels": labels}})
    for number, spec in enumerate(specs):
        whole = {"podSelector": {"matchLabels": {"app": "server"}}, **spec}
        known.policy("ADDED", {"metadata": {"name": str(number), "namespace": namespace}, "spec": whole})
    return known


def let_in(known: Policies, port: int = 27017) -> set[str]:
    return {source for source in EVERYBODY if known.allows(source, (SERVER, port))}


def test_without_a_policy_that_selects_it_a_pod_accepts_everybody() -> None:
    assert let_in(policies()) == EVERYBODY
    assert let_in(policies({"podSelector": {"matchLabels": {"app": "other"}}})) == EVERYBODY
    assert let_in(policies({}, namespace="away")) == EVERYBODY
    assert let_in(policies({"policyTypes": ["Egress"]})) == EVERYBODY


def test_a_policy_without_rules_lets_nobody_in_and_an_empty_selector_means_every_pod() -> None:
    assert let_in(policies({})) == set()
    assert let_in(policies({"podSelector": {}, "policyTypes": ["Ingress"]})) == set()


@pytest.mark.parametrize(
    ("peers", "expected"),
    [
        (None, EVERYBODY),
        ([], EVERYBODY),
        ([FRIENDS], {FRIEND}),
        ([{"podSelector": {}}], {FRIEND, STRANGER}),
        ([{"namespaceSelector": {}}], {FRIEND, STRANGER, AWAY}),
        ([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "away"}}}], {AWAY}),
        ([{"namespaceSelector": {}, **FRIENDS}], {FRIEND, AWAY}),
        ([{"ipBlock": {"cidr": "127.0.0.0/24"}}], {OUTSIDE}),
        ([{"ipBlock": {"cidr": "127.0.0.0/8", "except": ["127.9.11.0/24"]}}], {OUTSIDE, AWAY}),
        ([{"ipBlock": {"cidr": "fd00::/8"}}, FRIENDS], {FRIEND}),
        (
            [
                {
                    "podSelector": {
                        "matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["friend"]}]
                    }
                }
            ],
            {STRANGER},
        ),
    ],
)
def test_a_rule_lets_in_the_peers_it_names(peers: list[dict[str, Any]] | None, expected: set[str]) -> None:
    rule = {} if peers is None else {"from": peers}
    assert let_in(policies({"ingress": [rule]})) == expected


def test_what_any_rule_of_any_policy_allows_is_allowed() -> None:
    block = {"ipBlock": {"cidr": "127.0.0.1/32"}}
    assert let_in(policies({"ingress": [{"from": [FRIENDS]}]}, {"ingress": [{"from": [block]}]})) == {
        FRIEND,
        OUTSIDE,
    }


def test_ports_count_as_numbers_and_ranges_of_tcp() -> None:
    def on(port: int, *ports: dict[str, Any]) -> bool:
        return let_in(policies({"ingress": [{"ports": list(ports)}]}), port) == EVERYBODY

    assert on(27017, {"port": 27017})
    assert on(27017, {"protocol": "TCP"})
    assert on(27017, {"port": 1}, {"port": 27000, "endPort": 27100})
    assert not on(27017, {"port": 5000})
    assert not on(27017, {"port": 27017, "protocol": "UDP"})
    assert not on(27017, {"port": "mongodb"})


def test_changes_count_from_when_they_are_told_and_a_pod_that_is_over_has_no_address() -> None:
    known = policies({"ingress": [{"from": [FRIENDS]}]})
    known.pod("MODIFIED", pod("friend", FRIEND, "stranger"))
    known.pod("MODIFIED", pod("stranger", STRANGER, "friend"))
    assert let_in(known) == {STRANGER}
    known.pod("MODIFIED", pod("stranger", STRANGER, "friend", phase="Succeeded"))
    assert let_in(known) == set()
    assert known
    known.policy("DELETED", {"metadata": {"name": "0", "namespace": "panda"}, "spec": {}})
    assert not known
    assert let_in(known) == EVERYBODY
