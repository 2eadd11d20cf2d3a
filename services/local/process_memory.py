"""Memory and processor time of a process and of all that it started, while they live, on Linux; elsewhere the memory only, at its end."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

_MOST_PROCESSES = 1_000


class Usage(NamedTuple):
    """`memory` is what is in memory now, in bytes, of all these processes; `peak` the most that the first had. `cpu_seconds` is the
    processor time of all, and what they waited for a processor that others had."""

    memory: int
    peak: int
    cpu_seconds: float


def usage(pid: int) -> Usage | None:
    """Of the process and its descendants; None where the system doesn't tell, or it is gone."""
    if sys.platform != "linux":
        return None
    memory, cpu, peak = 0, 0.0, 0
    waiting, seen = [pid], set[int]()
    while waiting and len(seen) < _MOST_PROCESSES:
        process = waiting.pop()
        if process in seen:
            continue
        seen.add(process)
        folder = Path("/proc", str(process))
        try:
            status = (folder / "status").read_text("ascii", "replace")
            # After the name, which may hold anything, in brackets: utime, stime, and those of children that ended, are 14 to 17.
            times = (folder / "stat").read_text("ascii", "replace").rpartition(")")[2].split()[11:15]
            for task in os.listdir(folder / "task"):
                waiting += map(int, (folder / "task" / task / "children").read_text("ascii").split())
                cpu += _seconds_in_queue(folder / "task" / task / "schedstat")
        except (OSError, ValueError):
            continue  # it has ended
        memory += _kilobytes(status, "VmRSS:")
        cpu += sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
        if process == pid:
            peak = _kilobytes(status, "VmHWM:")
    return Usage(memory, peak, cpu) if peak else None


def resident(pid: int) -> int | None:
    """Bytes in memory of the process and its descendants: less than `usage` tells, at a quarter of its cost. None as there."""
    if sys.platform != "linux":
        return None
    pages, waiting, seen = 0, [pid], set[int]()
    while waiting and len(seen) < _MOST_PROCESSES:
        process = waiting.pop()
        if process in seen:
            continue
        seen.add(process)
        try:
            with open(f"/proc/{process}/statm", "rb") as statm:
                pages += int(statm.read().split()[1])
            for task in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{task}/children", "rb") as children:
                    waiting += map(int, children.read().split())
        except (OSError, ValueError, IndexError):
            continue  # it has ended
    return pages * os.sysconf("SC_PAGE_SIZE") or None


def _seconds_in_queue(schedstat: Path) -> float:
    """How long a thread was ready and had no processor; 0 where the kernel doesn't say."""
    try:
        return int(schedstat.read_text("ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _kilobytes(status: str, name: str) -> int:
    """A line of /proc/PID/status in bytes; 0 where it isn't there, as of a process that ends."""
    _, _, rest = status.partition(f"\n{name}")
    words = rest.split(None, 1)
    return int(words[0]) * 1024 if words else 0


def most_memory_of_ended() -> int | None:
    """The most memory that one process had, of those that this one started and that have ended; None where the system doesn't tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (peak if sys.platform == "darwin" else peak * 1024) or None
