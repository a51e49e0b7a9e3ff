"""What revoke-kubernetes-access and block-cleanup share: a service account is taken out of the bindings that name it.

Bindings to a group that the account belongs to are left alone, and named. Putting a subject back takes the right to `bind` the role,
or the role's own rights. It is no fault by itself.
"""

from typing import Any, ClassVar, TypeVar

from harness.chaos.faults.alteration import Alteration, Altered, Change, refuse_if_marked
from harness.chaos.faults.fault import Case, ref_of
from harness.chaos.world import Site
from harness.cluster import Object, Right, name_of
from harness.errors import InjectionFailed

KINDS = ("rolebindings", "clusterrolebindings")
A = TypeVar("A")


class AccountFault(Alteration[A]):
    """Take a service account's rights away."""

    restores_access: ClassVar[bool] = True

    def rights(self, site: Site) -> tuple[Right, ...]:
        """Read and patch bindings; bind the roles again."""
        namespace = site.kubernetes.namespace
        return (
            *(Right(verb, "rolebindings", namespace) for verb in ("get", "list", "patch")),
            *(Right(verb, "clusterrolebindings") for verb in ("get", "list", "patch")),
            Right("bind", "roles", namespace),
            Right("bind", "clusterroles"),
        )

    def without(self, site: Site, account: str) -> Altered:
        """Return the alteration that takes the account out of every binding that names it."""
        namespace = site.kubernetes.namespace
        changes: list[Change] = []
        for kind in KINDS:
            for binding in site.world.objects(kind):
                subjects = binding.get("subjects") or []
                left = [subject for subject in subjects if not _is(subject, account, namespace)]
                if len(left) == len(subjects):
                    continue
                ref = ref_of(kind, binding)
                refuse_if_marked(ref, binding)
                changes.append(Change(ref, {"subjects": left}, {"subjects": subjects}))
        if not changes:
            raise InjectionFailed(
                f"no binding names the service account {namespace}/{account}; there is nothing to take away"
            )
        words = f"service account {account} ({', '.join(str(change.ref) for change in changes)})"
        return Altered(words, changes=tuple(changes), facts={"account": account})

    def rescue(self, found: Object, altered: Change) -> Object:
        """Put the account back beside whom somebody else has put there meanwhile."""
        subjects = found.get("subjects") or []
        missing = [
            one
            for one in altered.back["subjects"]
            if one not in subjects and one not in altered.there["subjects"]
        ]
        return {"subjects": [*subjects, *missing]}

    def meanwhile(self, altered: Change, found: Object) -> str:
        """Say that somebody else has changed the subjects."""
        return f"{altered.ref}: its subjects were changed by somebody else meanwhile; only the account was put back"

    def is_active(self, site: Site, case: Case[A, Altered]) -> bool:
        """No binding names the account."""
        account, namespace = str(case.before.facts["account"]), site.kubernetes.namespace
        return not any(
            _is(subject, account, namespace)
            for kind in KINDS
            for binding in site.world.objects(kind)
            for subject in binding.get("subjects") or ()
        )

    def seen(self, ref: Any, found: Object) -> str:
        """Return how many subjects a binding has."""
        return f"{name_of(found)}={len(found.get('subjects') or [])}"


def _is(subject: Object, account: str, namespace: str) -> bool:
    of = (subject.get("kind"), subject.get("name"), subject.get("namespace", namespace))
    return of == ("ServiceAccount", account, namespace)
