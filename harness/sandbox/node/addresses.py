"""The pod addresses of a node: a small range that can run out.

An address given back is given out again last, so that a late packet for a dead pod finds nobody for as long as
possible. It knows nothing of pods beyond the id that holds an address.
"""

from __future__ import annotations

import ipaddress
from collections import deque


class NoAddress(Exception):
    """The range is used up; the text is what the CNI plugin says."""


class PodAddresses:
    """The first `size` host addresses of a network."""

    def __init__(self, network: ipaddress.IPv4Network, size: int) -> None:
        hosts = [str(host) for _, host in zip(range(size), network.hosts(), strict=False)]
        self._range = f"{hosts[0]}-{hosts[-1]}" if hosts else "(empty)"
        self._free = deque(hosts)
        self._held: dict[str, str] = {}

    def take(self, holder: str) -> str:
        """Give the holder's address, a new one if it has none; raise NoAddress when all are taken."""
        if holder not in self._held:
            if not self._free:
                raise NoAddress(
                    'plugin type="host-local" failed (add): failed to allocate for range 0: '
                    f"no IP addresses available in range set: {self._range}"
                )
            self._held[holder] = self._free.popleft()
        return self._held[holder]

    def give_back(self, holder: str) -> None:
        """Free the holder's address."""
        address = self._held.pop(holder, None)
        if address is not None:
            self._free.append(address)
