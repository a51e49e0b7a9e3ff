"""What a container gets to see: its environment, arguments and directory, resolved from the pod's spec.

Called by the pod worker before each start of a container, because config maps and secrets may have changed.
A reference that leads nowhere is a ConfigError with the kubelet's sentence; the container then waits.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path

from harness.sandbox.api import Api, ApiStatus, Obj

_VARIABLE = re.compile(r"\$\$|\$\(([^)]*)\)")


class ConfigError(Exception):
    """Something the container refers to is not there."""


class References:
    """Config maps and secrets of one namespace, each read once."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._read: dict[tuple[str, str], Mapping[str, str] | None] = {}

    async def data(self, kind: str, name: str) -> Mapping[str, str] | None:
        """Return the data of a config map or secret; None if there is none."""
        key = kind, name
        if key not in self._read:
            try:
                obj = await self._api.get(
                    "configmaps" if kind == "configmap" else "secrets", name, self._namespace
                )
            except ApiStatus as refusal:
                if refusal.code != 404:
                    raise ConfigError(
                        f"failed to get {kind} {self._namespace}/{name}: {refusal.message}"
                    ) from refusal
                self._read[key] = None
            else:
                self._read[key] = _decoded(kind, obj)
        return self._read[key]

    async def one(self, kind: str, ref: Obj) -> str | None:
        """Return the value of a key reference; None if it is absent and optional."""
        found = await self.data(kind, ref["name"])
        if found is None:
            if ref.get("optional"):
                return None
            raise ConfigError(f'{kind} "{ref["name"]}" not found')
        if ref["key"] not in found:
            if ref.get("optional"):
                return None
            raise ConfigError(
                f"couldn't find key {ref['key']} in {kind.title()} {self._namespace}/{ref['name']}"
            )
        return found[ref["key"]]

    async def all(self, kind: str, ref: Obj) -> Mapping[str, str]:
        """Return every pair of a config map or secret."""
        found = await self.data(kind, ref["name"])
        if found is None and not ref.get("optional"):
            raise ConfigError(f'{kind} "{ref["name"]}" not found')
        return found or {}


def _decoded(kind: str, obj: Obj) -> Mapping[str, str]:
    data: Mapping[str, str] = obj.get("data") or {}
    if kind == "configmap":
        return data
    return {key: base64.b64decode(value).decode("utf-8", "replace") for key, value in data.items()}


async def resolve_env(
    container: Obj, pod: Obj, facts: Mapping[str, str], references: References
) -> dict[str, str]:
    """Return the container's variables; `facts` holds the field paths that the kubelet knows first."""
    env: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        prefix = source.get("prefix", "")
        for kind, word in (("configmap", "configMapRef"), ("secret", "secretRef")):
            if word in source:
                found = await references.all(kind, source[word])
                env.update({prefix + key: value for key, value in found.items()})
    for entry in container.get("env") or []:
        value = await _value(entry, pod, facts, references)
        if value is not None:
            env[entry["name"]] = expand(value, env)
    return env


async def _value(entry: Obj, pod: Obj, facts: Mapping[str, str], references: References) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return str(entry.get("value", ""))
    if "configMapKeyRef" in source:
        return await references.one("configmap", source["configMapKeyRef"])
    if "secretKeyRef" in source:
        return await references.one("secret", source["secretKeyRef"])
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"], facts)
    raise ConfigError(f"unsupported valueFrom of {entry['name']}: {', '.join(source)}")


def field_value(pod: Obj, path: str, facts: Mapping[str, str]) -> str:
    """Return a field of the pod by its path, as the downward API does."""
    if path in facts:
        return facts[path]
    found = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path)
    if found:
        return str((pod["metadata"].get(found[1]) or {}).get(found[2], ""))
    value: object = pod
    for word in path.split("."):
        value = value.get(word, "") if isinstance(value, dict) else ""
    return str(value)


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace $(NAME) by the variable; leave unknown ones and turn $$ into $."""

    def one(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return env.get(found[1], found[0])

    return _VARIABLE.sub(one, text)


def volume_of(pod: Obj, volumes: Path, own: Path) -> Path:
    """Return (and make) the directory of the pod's first claim, else one of its own."""
    claims = (volume.get("persistentVolumeClaim") for volume in pod["spec"].get("volumes") or [])
    claim = next((claim for claim in claims if claim), None)
    chosen = own if claim is None else volumes / str(claim["claimName"])
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen
