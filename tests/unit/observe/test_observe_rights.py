"""Whose rights are asked for, and who cannot be asked for."""

from types import SimpleNamespace
from typing import Any

import pytest

from harness.cluster import Right
from harness.observe import rights
from harness.observe.probes import CannotSee, NoAnswer
from harness.observe.rights import ServerRights
from harness.target.model import RoleName


class Asked:
    """A cluster that knows one workload; `missing` are the rights its account lacks."""

    namespace = "panda"

    def get(self, kind: str, name: str) -> dict[str, Any]:
        assert (kind, name) == ("deployments", "focus-server")
        return {"spec": {"template": {"spec": {"serviceAccountName": "focus"}}}}


def kubernetes(*, named: bool = True) -> Any:
    role = SimpleNamespace(kind="Deployment", name="focus-server")
    return SimpleNamespace(roles={RoleName.FOCUS_SERVER: role} if named else {})


def test_the_account_is_known_even_right_after_the_machine_has_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []

    def missing(_cluster: object, account: str, wanted: tuple[Right, ...]) -> tuple[Right, ...]:
        told.append(account)
        return wanted[:1]

    monkeypatch.setattr(rights, "missing_rights_of", missing)
    monkeypatch.setattr(rights.time, "monotonic", lambda: 1.0)
    with pytest.raises(NoAnswer, match="focus may not list nodes"):
        ServerRights(Asked(), kubernetes()).ask()  # type: ignore[arg-type]
    assert told == ["system:serviceaccount:panda:focus"]


def test_a_target_without_the_role_is_a_blind_spot_not_an_error() -> None:
    with pytest.raises(CannotSee, match="names no role focus_server"):
        ServerRights(Asked(), kubernetes(named=False)).ask()  # type: ignore[arg-type]
