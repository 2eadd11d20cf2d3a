"""Tables of what was measured side by side, as Markdown: the median, the least, and how ours compares."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator


def rounds() -> Iterator[int]:
    """How often everything is measured: `BENCH_ROUNDS`, default 5. Says how busy the machine is before each."""
    wanted = int(os.environ.get("BENCH_ROUNDS", "5"))
    for number in range(wanted):
        print(f"  round {number + 1} of {wanted}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        yield number


class Table:
    """Measurements by name, in the order they first came. `unit` scales seconds into what `measured` says."""

    def __init__(self, first: str, measured: str, unit: float, ours: str) -> None:
        self._head = (first, measured, "least", "ours / it")
        self._unit = unit
        self._ours = ours
        self._found: dict[str, list[float]] = {}
        self._missing: dict[str, str] = {}

    def add(self, name: str, measured: float | str) -> None:
        """One measurement in seconds, or in words why there is none."""
        if isinstance(measured, str):
            self._missing[name] = measured
        else:
            self._found.setdefault(name, []).append(measured * self._unit)

    def median(self, name: str) -> float:
        return statistics.median(self._found[name])

    def show(self) -> None:
        """The ratio is of the medians of one interleaved run."""
        ours = self.median(self._ours)
        print(f"\n| {' | '.join(self._head)} |\n|---|---|---|---|")
        for name, found in self._found.items():
            ratio = "" if name == self._ours else f"{ours / self.median(name):.3g}"
            print(f"| {name} | {self.median(name):,.4g} | {min(found):,.4g} | {ratio} |")
        for name, why in self._missing.items():
            print(f"  left out: {name}: {why}")
