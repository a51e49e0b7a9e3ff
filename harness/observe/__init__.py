"""Watchers: what happens in the cluster, to the dependencies and to Focus Server while a run goes, and when nobody could see.

The conductor starts them (`start`) in its own process as plain threads. They observe and write; they change nothing, retry
nothing on anybody's behalf and conclude nothing.
"""

from harness.observe.notebook import Health
from harness.observe.watchers import Watchers, start

__all__ = ["Health", "Watchers", "start"]
