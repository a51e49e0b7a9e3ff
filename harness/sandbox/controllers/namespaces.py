"""How a namespace goes: emptied first, and only then let go.

What appears in every new namespace is the API server's own business.
"""

from __future__ import annotations

from harness.sandbox.api import ApiStatus, Obj
from harness.sandbox.controllers.controller import Controller, ignoring_absence
from harness.sandbox.controllers.garbage import COLLECTED
from harness.sandbox.controllers.informer import Key, World, key_of
from harness.sandbox.controllers.podfacts import is_going
from harness.sandbox.controlplane.resources import BY_KEY
from harness.sandbox.recorder import Recorder

CONTENTS = (*(key for key in COLLECTED if BY_KEY[key].namespaced), "events")
LOOK_AGAIN_S = 0.1


class NamespaceController(Controller):
    """Reconciles namespaces that are being deleted."""

    name = "namespace-controller"

    def __init__(self, world: World, recorder: Recorder) -> None:
        super().__init__(world, recorder)
        self._namespaces = world.informer("namespaces")
        self.wakes_itself("namespaces")

    async def reconcile(self, key: Key) -> None:
        """Empty a namespace that goes, and let it go once it is empty."""
        namespace = self._namespaces.get(*key)
        if namespace is None or not is_going(namespace):
            return
        if await self._empty(namespace["metadata"]["name"]):
            await self._finalize(namespace)
        else:
            self.wake_after(key, LOOK_AGAIN_S)

    async def _empty(self, name: str) -> bool:
        """Delete everything in a namespace; say whether it is empty."""
        left = 0
        for resource in CONTENTS:
            for obj in (await self.api.list(resource, name))[0]:
                left += 1
                if not is_going(obj):
                    _, own = key_of(obj)
                    try:
                        await self.api.delete(resource, own, name, propagation="Background")
                    except ApiStatus as refusal:
                        if refusal.code not in (404, 409):
                            raise
        return left == 0

    async def _finalize(self, namespace: Obj) -> None:
        kept = [one for one in (namespace["spec"].get("finalizers") or []) if one != "kubernetes"]
        freed = {**namespace, "spec": {**namespace["spec"], "finalizers": kept}}
        await ignoring_absence(self.api.replace("namespaces", freed, subresource="finalize"))
