"""How long the API server keeps events: an hour from when they were written or said again, whenever it was that they happened."""

import asyncio
from pathlib import Path
from typing import Any

from small_cluster import NS, Cluster

OLD = "2020-01-01T00:00:00Z"


def test_an_event_is_dropped_an_hour_after_it_was_written_not_after_it_happened(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)

    def event(name: str, **more: Any) -> dict[str, Any]:
        about = {"kind": "Pod", "name": "p", "namespace": NS}
        return {"metadata": {"name": name}, "involvedObject": about, "reason": "Tested", **more}

    async def play() -> list[str]:
        for body in (
            event("told-late", eventTime="2020-01-01T00:00:00.000000Z"),
            event("old"),
            event("old-and-said-again"),
        ):
            await cluster.api.create("events", body, NS)
        for record in cluster.plane.store.each("events"):
            name = record.obj["metadata"]["name"]
            if name.startswith("old"):
                record.obj["metadata"]["creationTimestamp"] = OLD
            if name == "old-and-said-again":
                record.obj["lastTimestamp"] = "2100-01-01T00:00:00Z"
        keeping = asyncio.create_task(cluster.plane.keep_house())
        await asyncio.sleep(0)
        keeping.cancel()
        found, _ = await cluster.api.list("events", NS)
        return sorted(one["metadata"]["name"] for one in found)

    assert asyncio.run(play()) == ["old-and-said-again", "told-late"]
