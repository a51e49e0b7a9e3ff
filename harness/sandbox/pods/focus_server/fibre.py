"""What Focus Server knows of the fibre: nothing when it starts, everything once the player has told it, until it ends.

Used by the window flow and by `GET /live_metadata`. While it knows nothing it waits for the fibre, as it does for ever when
the setting `waiting_for_fiber` says so. It asks twice a second and does not care whether the player lives afterwards.
"""

from __future__ import annotations

import asyncio
from typing import Any

from harness.sandbox.api import Api, ApiStatus
from harness.sandbox.pods import fibre
from harness.sandbox.settings import Settings
from harness.sandbox.truth import TruthLog

ASK_EVERY_S = 0.5
ANSWER_WITHIN_S = 1.0


class Fibre:
    """The fibre's metadata, once it is known; run `follow` as a task."""

    def __init__(self, api: Api, settings: Settings, truth: TruthLog) -> None:
        self._api = api
        self._settings = settings
        self._truth = truth
        self.metadata: dict[str, Any] | None = None
        truth.write_change("fibre", known=False)

    async def follow(self) -> None:
        """Ask for the metadata until it is known."""
        while not await self.look():
            await asyncio.sleep(ASK_EVERY_S)

    async def look(self) -> bool:
        """Ask once, within a second; say whether it is known now."""
        if self._settings.waiting_for_fiber:
            return False
        if self.metadata is None:
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    self.metadata = await self._ask_players()
            except (ApiStatus, OSError, ValueError):  # a TimeoutError is an OSError
                pass
            self._truth.write_change("fibre", known=self.metadata is not None)
        return self.metadata is not None

    async def _ask_players(self) -> dict[str, Any] | None:
        settings = self._settings
        players, _ = await self._api.list("pods", settings.namespace, labels=settings.player_selector)
        for player in players:
            status = player.get("status") or {}
            if status.get("phase") == "Running" and status.get("podIP"):
                return await fibre.ask(status["podIP"])
        return None
