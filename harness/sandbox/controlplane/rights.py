"""Who may do what: roles and bindings evaluated for an identity, and the reviews that ask about it.

`system:masters` may everything; everybody else what roles say. Called by the HTTP layer for every request. Bindings
are compiled into rules per subject whenever a role or binding has changed. Webhooks, ABAC and the node restriction
of a real server are not here: nodes have the rights of the cluster role system:node.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.controlplane import statuses
from harness.sandbox.controlplane.identity import MASTERS, User
from harness.sandbox.controlplane.store import Store

GROUP = "rbac.authorization.k8s.io"
SHELVES = tuple(
    f"{kind}.{GROUP}" for kind in ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
)


@dataclass(frozen=True)
class Action:
    """One thing somebody wants to do: a verb on a resource, or on a path."""

    verb: str
    resource: str = ""
    group: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def target(self) -> str:
        """Resource with subresource, as roles name it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True)
class Rule:
    """One rule of a role, and the namespace it is bound in (None: all)."""

    namespace: str | None
    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    paths: tuple[str, ...]
    source: Obj

    def allows(self, action: Action) -> bool:
        """Whether the rule covers an action."""
        if not self.verbs & {action.verb, "*"}:
            return False
        if action.path:
            return self.namespace is None and any(_path_fits(p, action.path) for p in self.paths)
        if self.namespace is not None and self.namespace != action.namespace:
            return False
        if not self.groups & {action.group, "*"}:
            return False
        wanted = {action.target, "*"}
        if action.subresource:
            wanted.add(f"*/{action.subresource}")
        if not self.resources & wanted:
            return False
        return not self.names or action.name in self.names


def _path_fits(pattern: str, path: str) -> bool:
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return pattern in (path, path.rstrip("/"))


def compile_rule(rule: Obj, namespace: str | None) -> Rule:
    """A rule object bound in a namespace, or everywhere."""
    return Rule(
        namespace,
        frozenset(rule.get("verbs") or ()),
        frozenset(rule.get("apiGroups") or ()),
        frozenset(rule.get("resources") or ()),
        frozenset(rule.get("resourceNames") or ()),
        tuple(rule.get("nonResourceURLs") or ()) if namespace is None else (),
        rule,
    )


class Rights:
    """The roles and bindings of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._versions: tuple[int, ...] = ()
        self._rules: dict[tuple[str, str], list[Rule]] = {}

    def _compiled(self) -> dict[tuple[str, str], list[Rule]]:
        versions = tuple(self._store.shelf(name).version for name in SHELVES)
        if versions != self._versions:
            self._versions, self._rules = versions, {}
            for shelf in ("rolebindings", "clusterrolebindings"):
                for record in self._store.each(f"{shelf}.{GROUP}"):
                    self._bind(record.obj)
        return self._rules

    def _bind(self, binding: Obj) -> None:
        namespace = binding["metadata"].get("namespace")
        ref = binding["roleRef"]
        own = ref["kind"] == "Role"
        shelf = f"{'roles' if own else 'clusterroles'}.{GROUP}"
        role = self._store.get(shelf, (namespace or "" if own else "", ref["name"]))
        if role is None:
            return
        rules = [compile_rule(rule, namespace) for rule in role.obj.get("rules") or []]
        for subject in binding.get("subjects") or []:
            key = (subject["kind"], subject["name"])
            if subject["kind"] == "ServiceAccount":
                key = (
                    "User",
                    f"system:serviceaccount:{subject.get('namespace', namespace)}:{subject['name']}",
                )
            self._rules.setdefault(key, []).extend(rules)

    def rules_of(self, user: User) -> Iterator[Rule]:
        """Every rule that is bound to an identity or one of its groups."""
        compiled = self._compiled()
        yield from compiled.get(("User", user.name), ())
        for group in user.groups:
            yield from compiled.get(("Group", group), ())

    def allows(self, user: User, action: Action) -> bool:
        """Whether an identity may do something."""
        if MASTERS in user.groups:
            return True
        return any(rule.allows(action) for rule in self.rules_of(user))

    def covers(self, user: User, rules: Iterable[Obj], namespace: str | None) -> bool:
        """Whether an identity has all the rights of some rules itself, so that it may hand them on."""
        if MASTERS in user.groups:
            return True
        own = [rule for rule in self.rules_of(user) if rule.namespace in (None, namespace)]
        return all(_covered(compile_rule(rule, namespace), own) for rule in rules)


def _covered(wanted: Rule, own: list[Rule]) -> bool:
    def within(part: frozenset[str], have: frozenset[str]) -> bool:
        return "*" in have or part <= have

    for verb in wanted.verbs:
        holds = any(
            within(frozenset([verb]), rule.verbs)
            and within(wanted.groups, rule.groups)
            and within(wanted.resources, rule.resources)
            and (not rule.names or (wanted.names and wanted.names <= rule.names))
            and all(any(_path_fits(p, path) for p in rule.paths) for path in wanted.paths)
            for rule in own
        )
        if not holds:
            return False
    return True


def refused(user: User, action: Action) -> ApiStatus:
    """The 403 for an action that no rule covers."""
    if action.path:
        text = f'forbidden: User "{user.name}" cannot {action.verb} path "{action.path}"'
        return statuses.refusal(403, "Forbidden", text, {})
    where = f'in the namespace "{action.namespace}"' if action.namespace else "at the cluster scope"
    text = (
        f'User "{user.name}" cannot {action.verb} resource "{action.target}" '
        f'in API group "{action.group}" {where}'
    )
    return statuses.forbidden(action.resource, action.group, action.name, text)
