"""Rights: what roles and bindings say holds, for names, groups, subresources and paths, and nothing more."""

from pathlib import Path

import pytest
from plane_parts import Parts

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import identity
from harness.sandbox.controlplane.identity import Tokens, Unauthorized, User
from harness.sandbox.controlplane.rights import Action, Rights, refused

RBAC = "rbac.authorization.k8s.io"
BOB = User("bob", ("team", "system:authenticated"))


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


def _bind(
    parts: Parts, rules: list[Obj], subject: Obj, *, cluster_role: bool = False, everywhere: bool = False
) -> Rights:
    kind = "ClusterRole" if cluster_role else "Role"
    parts.make(f"{kind.lower()}s.{RBAC}", {"metadata": {"name": "r"}, "rules": rules})
    binding = {"metadata": {"name": "b"}, "roleRef": {"kind": kind, "name": "r"}, "subjects": [subject]}
    parts.make(f"{'clusterrolebindings' if everywhere else 'rolebindings'}.{RBAC}", binding)
    return Rights(parts.store)


def _rule(resources: list[str], verbs: list[str], groups: tuple[str, ...] = ("",), **more: list[str]) -> Obj:
    return {"apiGroups": list(groups), "resources": resources, "verbs": verbs, **more}


def test_nobody_but_masters_may_anything_without_a_binding(parts: Parts) -> None:
    rights, action = Rights(parts.store), Action("list", "pods", namespace="default")
    assert rights.allows(identity.ADMIN, action)
    assert not rights.allows(BOB, action)


def test_a_role_holds_in_its_namespace_for_its_verbs_and_resources_only(parts: Parts) -> None:
    rights = _bind(parts, [_rule(["pods", "pods/log"], ["get", "list"])], {"kind": "User", "name": "bob"})
    asked = {
        "list pods": Action("list", "pods", namespace="default"),
        "delete pods": Action("delete", "pods", namespace="default"),
        "pods elsewhere": Action("list", "pods", namespace="kube-system"),
        "log": Action("get", "pods", subresource="log", namespace="default", name="p"),
        "exec": Action("get", "pods", subresource="exec", namespace="default", name="p"),
        "other group": Action("list", "pods", "apps", namespace="default"),
    }
    allowed = {name for name, action in asked.items() if rights.allows(BOB, action)}
    assert allowed == {"list pods", "log"}


def test_resource_names_allow_the_named_and_neither_others_nor_lists(parts: Parts) -> None:
    rule = _rule(["configmaps"], ["get", "list"], resourceNames=["x"])
    rights = _bind(parts, [rule], {"kind": "Group", "name": "team"})
    names = {
        n
        for n in ("x", "y", "")
        if rights.allows(BOB, Action("get", "configmaps", namespace="default", name=n))
    }
    assert names == {"x"}


def test_a_cluster_role_bound_in_a_namespace_gives_nothing_beyond_it(parts: Parts) -> None:
    rule = _rule(["configmaps", "nodes"], ["list"])
    rights = _bind(parts, [rule], {"kind": "User", "name": "bob"}, cluster_role=True)
    assert rights.allows(BOB, Action("list", "configmaps", namespace="default"))
    assert not rights.allows(BOB, Action("list", "nodes"))
    assert not rights.allows(BOB, Action("list", "configmaps"))


def test_a_cluster_binding_gives_paths_and_all_namespaces(parts: Parts) -> None:
    rules = [_rule(["*"], ["*"], ("*",)), {"nonResourceURLs": ["/metrics", "/debug/*"], "verbs": ["get"]}]
    account = {"kind": "ServiceAccount", "name": "default", "namespace": "default"}
    rights = _bind(parts, rules, account, cluster_role=True, everywhere=True)
    user = identity.service_account("default", "default")
    assert rights.allows(user, Action("delete", "jobs", "batch", "status", "kube-system", "j"))
    assert rights.allows(user, Action("get", path="/debug/pprof"))
    assert not rights.allows(user, Action("post", path="/metrics"))
    assert not rights.allows(identity.service_account("kube-system", "default"), Action("list", "pods"))


def test_a_binding_that_goes_takes_its_rights_along(parts: Parts) -> None:
    rights = _bind(parts, [_rule(["pods"], ["list"])], {"kind": "User", "name": "bob"})
    action = Action("list", "pods", namespace="default")
    assert rights.allows(BOB, action)
    key = (f"rolebindings.{RBAC}", ("default", "b"))
    before = parts.store.get(*key)
    assert before is not None
    parts.store.remove(*key, before)
    assert not rights.allows(BOB, action)


def test_rights_cannot_be_handed_on_by_who_does_not_have_them(parts: Parts) -> None:
    rights = _bind(parts, [_rule(["pods"], ["get", "list"])], {"kind": "User", "name": "bob"})
    assert rights.covers(BOB, [_rule(["pods"], ["get"])], "default")
    assert not rights.covers(BOB, [_rule(["pods"], ["get", "delete"])], "default")
    assert not rights.covers(BOB, [_rule(["pods"], ["get"])], None)
    assert not rights.covers(BOB, [_rule(["pods"], ["get"])], "kube-system")


def test_a_refusal_names_who_what_and_where() -> None:
    message = refused(BOB, Action("get", "pods", "", "log", "default", "p")).message
    wanted = 'pods "p" is forbidden: User "bob" cannot get resource "pods/log" in API group "" in the namespace "default"'
    assert message == wanted
    assert "at the cluster scope" in refused(BOB, Action("list", "nodes")).message


def test_a_kubelet_may_report_its_pods_and_not_read_roles(parts: Parts) -> None:
    rights, node = Rights(parts.store), identity.node("node-1")
    assert rights.allows(node, Action("patch", "pods", "", "status", "default", "p"))
    assert rights.allows(node, Action("create", "serviceaccounts", "", "token", "default", "default"))
    assert not rights.allows(node, Action("list", "roles", RBAC))


def test_a_token_is_good_for_its_identity_until_it_ends_or_is_changed() -> None:
    tokens = Tokens(b"x" * 32, "the-admin")
    assert tokens.read("the-admin")[0] == identity.ADMIN
    token, _ = tokens.issue(identity.service_account("ns", "sa", "uid-1"), 600)
    user, _ = tokens.read(token)
    assert (user.name, user.uid) == ("system:serviceaccount:ns:sa", "uid-1")
    head, body, signature = token.split(".")
    old, _ = tokens.issue(identity.node("n"), -1)
    for wrong in (
        f"{head}.{body[:-2]}xx.{signature}",
        f"{head}.{body}.AAAA",
        "nonsense",
        old,
        Tokens(b"y" * 32, "a").node_token("n"),
    ):
        with pytest.raises(Unauthorized):
            tokens.read(wrong)
