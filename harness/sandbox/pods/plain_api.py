"""A small blocking client of the control plane for pods that ask it something every few seconds.

Used by the cleanup pods, of which there is one per window: an event loop and a connection pool in each would cost
three megabytes more. One kept connection, no retries, no watch; refusals are `ApiStatus` as everywhere.
"""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any
from urllib.parse import quote, urlsplit

from harness.sandbox.api import ApiStatus, Obj, delete_options, resource_path
from harness.sandbox.pods.context import PodContext


class PlainApi:
    """Reads and deletes objects as the pod's service account."""

    def __init__(self, pod: PodContext, timeout_s: float = 5.0) -> None:
        place = urlsplit(pod.api_url)
        assert place.hostname is not None
        tls = ssl.create_default_context(cafile=str(pod.ca_file))
        self._line = http.client.HTTPSConnection(place.hostname, place.port, timeout=timeout_s, context=tls)
        self._headers = {
            "Authorization": f"Bearer {pod.token}",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }

    def get(self, resource: str, name: str, namespace: str) -> Obj:
        """Read one object."""
        return self._ask("GET", resource_path(resource, namespace, name))

    def list(self, resource: str, namespace: str, labels: str) -> list[Obj]:
        """List objects by labels."""
        path = f"{resource_path(resource, namespace)}?labelSelector={quote(labels)}"
        items: list[Obj] = self._ask("GET", path).get("items") or []
        return items

    def delete(self, resource: str, name: str, namespace: str) -> None:
        """Delete an object and, in the background, what it owns; one that is not there is fine."""
        options = delete_options(0, "Background", None, None)
        try:
            self._ask("DELETE", resource_path(resource, namespace, name), options)
        except ApiStatus as error:
            if error.code != 404:
                raise

    def close(self) -> None:
        """Close the connection; a later request opens a new one."""
        self._line.close()

    def _ask(self, method: str, path: str, body: Any = None) -> Obj:
        data = None if body is None else json.dumps(body)
        try:
            self._line.request(method, path, data, self._headers)
            answer = self._line.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._line.close()
            raise ApiStatus(0, "NoAnswer", f"{method} {path}: {type(error).__name__} {error}") from error
        try:
            said: Obj = json.loads(raw)
        except ValueError:
            said = {"message": raw.decode("utf-8", "replace")}
        if answer.status >= 400:
            raise ApiStatus(answer.status, said.get("reason") or "", said.get("message") or "", said)
        return said
