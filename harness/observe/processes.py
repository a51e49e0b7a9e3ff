"""Look whether processes of our own still run, and what they are still connected to. Called by the audit; Linux tells all, others less."""

import os
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

SLACK_S = 1.0
"""A process is younger than what was written of it by at most this, as far as clocks can tell."""
CONNECTED = {"01", "02", "08"}
"""Established, being opened, and closed by the other end only (include/net/tcp_states.h)."""


def runs(pid: int, since_s: float) -> bool:
    """Say whether the process that had `pid` already `since_s` seconds ago still runs: one that only waits to be collected does not,
    nor does another one that was given its number.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return not Path("/proc/self").exists() and _answers(pid)
    fields = stat.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return False
    up_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return up_s - int(fields[19]) / os.sysconf("SC_CLK_TCK") >= since_s - SLACK_S


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def connections_of(pid: int) -> tuple[str, ...]:
    """Return the TCP connections that a process holds, `here -> there`; none where that cannot be seen."""
    try:
        held = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}
        rows = [row for name in ("tcp", "tcp6") for row in _rows(Path(f"/proc/{pid}/net/{name}"))]
    except OSError:
        return ()
    return tuple(
        sorted(
            f"{_address(row[1])} -> {_address(row[2])}"
            for row in rows
            if row[3] in CONNECTED and f"socket:[{row[9]}]" in held
        )
    )


def _rows(table: Path) -> Iterator[list[str]]:
    if table.exists():
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            yield line.split()


def _address(text: str) -> str:
    """Return `address:port` from the kernel's hexadecimal: words of four bytes in the machine's own order."""
    address, _, port = text.partition(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    raw = b"".join(word.to_bytes(4, "little") for word in words)
    return f"{ip_address(raw)}:{int(port, 16)}"
