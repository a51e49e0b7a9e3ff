"""Reviews: questions about identities and rights that are answered and not stored.

Called by the HTTP layer for POSTs to the review resources. It refuses (ApiStatus 422) a question without attributes.
"""

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import statuses
from harness.sandbox.controlplane.identity import AUTHENTICATED, Tokens, Unauthorized, User
from harness.sandbox.controlplane.resources import Resource
from harness.sandbox.controlplane.rights import Action, Rights


def answer(resource: Resource, obj: Obj, user: User, rights: Rights, tokens: Tokens, at: str) -> Obj:
    """Fill in the status of a review."""
    spec = obj.get("spec") or {}
    meta = {**(obj.get("metadata") or {}), "creationTimestamp": at}
    head: Obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}
    if resource.kind == "SelfSubjectReview":
        return {**head, "status": {"userInfo": user.info()}}
    head["spec"] = spec
    if resource.kind == "SelfSubjectAccessReview":
        return {**head, "status": _access(resource, spec, user, rights)}
    if resource.kind in ("SubjectAccessReview", "LocalSubjectAccessReview"):
        other = User(spec.get("user") or "", tuple(spec.get("groups") or ()))
        return {**head, "status": _access(resource, spec, other, rights)}
    if resource.kind == "SelfSubjectRulesReview":
        return {**head, "status": _rules(spec.get("namespace", ""), user, rights)}
    return {**head, "status": _token(spec.get("token", ""), tokens)}


def _access(resource: Resource, spec: Obj, user: User, rights: Rights) -> Obj:
    asked, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if bool(asked) == bool(path):
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        cause = statuses.invalid_value("spec.resourceAttributes", asked, text)
        raise statuses.invalid(resource.kind, resource.group, "", [cause])
    if path:
        action = Action(path.get("verb", ""), path=path.get("path", ""))
    else:
        found = asked or {}
        action = Action(
            found.get("verb", ""),
            found.get("resource", ""),
            found.get("group", ""),
            found.get("subresource", ""),
            found.get("namespace", ""),
            found.get("name", ""),
        )
    allowed = rights.allows(user, action)
    return {"allowed": allowed, "reason": "RBAC: allowed"} if allowed else {"allowed": False}


def _rules(namespace: str, user: User, rights: Rights) -> Obj:
    listed: list[Obj] = []
    paths: list[Obj] = []
    if "system:masters" in user.groups:
        listed.append({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
        paths.append({"verbs": ["*"], "nonResourceURLs": ["*"]})
    for rule in rights.rules_of(user):
        if rule.namespace not in (None, namespace):
            continue
        words = ("nonResourceURLs",) if rule.paths else ("apiGroups", "resources", "resourceNames")
        shown = {key: rule.source[key] for key in ("verbs", *words) if rule.source.get(key)}
        (paths if rule.paths else listed).append(shown)
    return {"resourceRules": listed, "nonResourceRules": paths, "incomplete": False}


def _token(token: str, tokens: Tokens) -> Obj:
    try:
        user, _ = tokens.read(token)
    except Unauthorized:
        return {"authenticated": False, "user": {}, "error": "invalid bearer token"}
    groups = tuple(dict.fromkeys([*user.groups, AUTHENTICATED]))
    return {"authenticated": True, "user": User(user.name, groups, user.uid).info()}
