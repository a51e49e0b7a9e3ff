"""Parts of a control plane in memory, as the server puts them together, for tests without HTTP."""

from pathlib import Path

from harness.sandbox.api import Obj
from harness.sandbox.controlplane import world
from harness.sandbox.controlplane.addresses import Ranges
from harness.sandbox.controlplane.identity import Tokens
from harness.sandbox.controlplane.local import LocalApi
from harness.sandbox.controlplane.resources import BY_KEY
from harness.sandbox.controlplane.store import Record, Store
from harness.sandbox.controlplane.subresources import Subresources
from harness.sandbox.controlplane.verbs import Ask, Verbs


class Parts:
    """Store, verbs, subresources and the in-process Api of a small cluster with namespaces."""

    def __init__(self, folder: Path, window: int = 50) -> None:
        self.store = Store(window=window)
        self.verbs = Verbs(self.store, Ranges())
        self.subresources = Subresources(self.verbs, Tokens(b"k" * 32, "admin"))
        self.local = LocalApi(self.verbs, self.subresources)
        ca = folder / "ca.pem"
        ca.write_text("a CA")
        world.make(self.verbs, ca, "127.0.0.1", 6443)
        world.conformance_node(self.verbs, "node-1")

    def make(self, key: str, obj: Obj, namespace: str = "default", **ask: bool) -> Record:
        """Create an object as the admin."""
        return self.verbs.create(BY_KEY[key], namespace, obj, Ask(**ask))


def pod(name: str = "p", **spec: object) -> Obj:
    """A small pod."""
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "i:1"}], **spec},
    }
