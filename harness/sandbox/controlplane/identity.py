"""Who is asking: tokens to identities.

The admin's token is random and lives in the state directory; service accounts and nodes carry signed tokens (JWT,
HS256 with a key of this sandbox), so nothing has to be stored for them and they survive a restart. A request without
credentials is `system:anonymous`; with wrong ones it is refused (401). Called by the HTTP layer and by whoever issues
tokens: the TokenRequest subresource, and the supervisor for its nodes.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.sandbox.api import Obj

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True)
class User:
    """An identity: name, groups and what else is known of it."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())

    def info(self) -> Obj:
        """The UserInfo object of reviews."""
        info: Obj = {"username": self.name}
        if self.uid:
            info["uid"] = self.uid
        if self.groups:
            info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in self.extra}
        return info


ADMIN = User("kubernetes-admin", (MASTERS, AUTHENTICATED))
SYSTEM = User("system:admin", (MASTERS, AUTHENTICATED))
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def service_account(namespace: str, name: str, uid: str = "") -> User:
    """The identity of a service account."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"system:serviceaccount:{namespace}:{name}", groups, uid)


def node(name: str) -> User:
    """The identity of a node's kubelet."""
    return User(f"system:node:{name}", ("system:nodes", AUTHENTICATED))


class Unauthorized(Exception):
    """Credentials that are nobody's."""


def _encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


class Tokens:
    """Issues and reads the tokens of one sandbox."""

    def __init__(self, key: bytes, admin_token: str) -> None:
        self._key = key
        self.admin_token = admin_token
        self._read: dict[str, tuple[Obj, float]] = {}

    @classmethod
    def load(cls, state: Path) -> "Tokens":
        """The tokens of a state directory; the keys are made there on first use, readable by the owner only."""
        found = {}
        for name, size in (("token-key", 32), ("admin-token", 24)):
            file = state / name
            if not file.exists():
                file.touch(mode=0o600)
                file.write_text(secrets.token_hex(size))
            found[name] = file.read_text().strip()
        return cls(bytes.fromhex(found["token-key"]), found["admin-token"])

    def _sign(self, claims: Obj) -> str:
        head = _encode(b'{"alg":"HS256","typ":"JWT"}')
        body = _encode(json.dumps(claims, separators=(",", ":")).encode())
        signature = hmac.new(self._key, f"{head}.{body}".encode(), hashlib.sha256).digest()
        return f"{head}.{body}.{_encode(signature)}"

    def issue(self, user: User, lifetime_s: int, about: Obj | None = None) -> tuple[str, int]:
        """A token of an identity and the second (Unix time) it ends at."""
        now = int(time.time())
        claims: Obj = {
            "iss": ISSUER,
            "sub": user.name,
            "aud": [ISSUER],
            "iat": now,
            "nbf": now,
            "exp": now + lifetime_s,
            "jti": secrets.token_hex(8),
            "kubernetes.io": {"groups": list(user.groups), "uid": user.uid, **(about or {})},
        }
        return self._sign(claims), now + lifetime_s

    def node_token(self, name: str, lifetime_s: int = 30 * 86400) -> str:
        """A token for the kubelet of a node."""
        return self.issue(node(name), lifetime_s)[0]

    def read(self, token: str) -> tuple[User, Obj]:
        """The identity of a token and what it says of service account and pod; raise Unauthorized."""
        if hmac.compare_digest(token.encode(), self.admin_token.encode()):
            return ADMIN, {}
        claims = self._claims(token)
        if claims["exp"] < time.time():
            raise Unauthorized
        about = claims["kubernetes.io"]
        return User(claims["sub"], tuple(about["groups"]), about["uid"]), about

    def _claims(self, token: str) -> dict[str, Any]:
        known = self._read.get(token)
        if known is not None:
            return known[0]
        try:
            head, body, signature = token.split(".")
            good = hmac.new(self._key, f"{head}.{body}".encode(), hashlib.sha256).digest()
            if not hmac.compare_digest(good, _decode(signature)):
                raise Unauthorized
            claims: dict[str, Any] = json.loads(_decode(body))
        except ValueError as error:
            raise Unauthorized from error
        if len(self._read) > 4096:
            self._read.clear()
        self._read[token] = (claims, claims["exp"])
        return claims
