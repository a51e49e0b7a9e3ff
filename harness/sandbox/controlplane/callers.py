"""Who is asking and whether they may: tokens, impersonation, rights, and nobody handing on what they do not have.

Called by the HTTP front before anything is done. It refuses with Unauthorized (401) or ApiStatus (403).
"""

import json
from dataclasses import replace
from typing import Any

from aiohttp import web

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.controlplane import asking, identity, statuses
from harness.sandbox.controlplane.asking import Target
from harness.sandbox.controlplane.identity import ANONYMOUS, Tokens, User
from harness.sandbox.controlplane.rights import Action, Rights, refused
from harness.sandbox.controlplane.store import Store


class Callers:
    """Identities and rights of one control plane."""

    def __init__(self, store: Store, tokens: Tokens, rights: Rights) -> None:
        self.store = store
        self.tokens = tokens
        self.rights = rights

    def user(self, request: web.Request) -> User:
        header = request.headers.get("Authorization", "")
        scheme, _, token = header.partition(" ")
        if not header:
            return ANONYMOUS
        if scheme.lower() != "bearer" or not token:
            raise identity.Unauthorized
        user, about = self.tokens.read(token.strip())
        if about.get("serviceaccount"):
            self._check_account(user, about)
        return user

    def _check_account(self, user: User, about: Obj) -> None:
        """A token ends with its account, and with the pod it is bound to."""
        record = self.store.get("serviceaccounts", (about["namespace"], about["serviceaccount"]))
        if record is None or (user.uid and record.obj["metadata"]["uid"] != user.uid):
            raise identity.Unauthorized
        bound = about.get("bound") or {}
        if bound.get("kind") == "Pod":
            pod = self.store.get("pods", (about["namespace"], bound.get("name", "")))
            if pod is None or (bound.get("uid") and pod.obj["metadata"]["uid"] != bound["uid"]):
                raise identity.Unauthorized

    def impersonated(self, request: web.Request, user: User, target: Target | None) -> User:
        name = request.headers.get("Impersonate-User")
        if not name:
            return user
        groups = request.headers.getall("Impersonate-Group", [])
        wanted = [Action("impersonate", "users", name=name)]
        parts = name.split(":")
        if name.startswith("system:serviceaccount:") and len(parts) == 4:
            wanted = [Action("impersonate", "serviceaccounts", namespace=parts[2], name=parts[3])]
            groups = groups or ["system:serviceaccounts", f"system:serviceaccounts:{parts[2]}"]
        wanted += [Action("impersonate", "groups", name=group) for group in groups]
        for action in wanted:
            if not self.rights.allows(user, action):
                raise self._may_not_impersonate(request, user, target, action)
        everybody = identity.AUTHENTICATED if name != ANONYMOUS.name else ANONYMOUS.groups[0]
        return User(
            name, tuple(dict.fromkeys([*groups, everybody])), request.headers.get("Impersonate-Uid", "")
        )

    @staticmethod
    def _may_not_impersonate(
        request: web.Request, user: User, target: Target | None, action: Action
    ) -> ApiStatus:
        if target is None:
            return refused(user, action)
        verb = f"impersonate-on:user-info:{verb_of(request, target)}"
        return refused(user, action_of(verb, target))

    def authorize(self, user: User, verb: str, target: Target) -> None:
        action = action_of(verb, target)
        if self.rights.allows(user, action):
            return
        if target.sub in ("exec", "attach") and self.rights.allows(user, replace(action, verb="get")):
            return
        raise refused(user, action)

    def check_escalation(self, user: User, target: Target, body: Any) -> None:
        """Nobody hands out rights that they do not have themselves."""
        kind = target.resource.kind
        if kind not in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding") or not isinstance(
            body, dict
        ):
            return
        namespace = target.namespace or None
        name = (body.get("metadata") or {}).get("name", "")
        if kind in ("Role", "ClusterRole"):
            rules, special = body.get("rules") or [], "escalate"
        else:
            ref = body.get("roleRef") or {}
            own = ref.get("kind") == "Role"
            shelf = "roles" if own else "clusterroles"
            key = (target.namespace if own else "", ref.get("name", ""))
            record = self.store.get(f"{shelf}.rbac.authorization.k8s.io", key)
            rules, special = (record.obj.get("rules") or []) if record else [], "bind"
        if self.rights.covers(user, rules, namespace):
            return
        if self.rights.allows(user, replace(action_of(special, target), name=name)):
            return
        shown = json.dumps(rules, separators=(",", ":"))
        text = f'user "{user.name}" (groups={list(user.groups)}) is attempting to grant RBAC permissions not currently held:\n{shown}'
        raise statuses.forbidden(target.resource.plural, target.resource.group, name, text)

    def check_patch(self, user: User, target: Target, patch: Any) -> None:
        if target.resource.kind in ("Role", "ClusterRole") and isinstance(patch, dict) and "rules" in patch:
            self.check_escalation(user, target, patch)


def verb_of(request: web.Request, target: Target) -> str:
    method = request.method
    if method == "GET" and target.sub in ("exec", "attach"):
        return "create"
    if method == "GET":
        if target.name and not (asking.truth(request.query.get("watch")) and not target.sub):
            return "get"
        return "watch" if asking.truth(request.query.get("watch")) else "list"
    if method == "DELETE":
        return "delete" if target.name else "deletecollection"
    words = {"POST": "create", "PUT": "update", "PATCH": "patch"}
    if method not in words:
        raise statuses.method_not_allowed()
    return words[method]


def action_of(verb: str, target: Target) -> Action:
    resource = target.resource
    return Action(verb, resource.plural, resource.group, target.sub, target.namespace, target.name)
