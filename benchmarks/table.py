"""Tables of what was measured side by side, as Markdown: the median, the least, and how they compare."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator


def rounds(default: int = 5) -> Iterator[int]:
    """How often everything is measured, one after the other: `BENCH_ROUNDS` or the default. Says how busy the machine is."""
    wanted = int(os.environ.get("BENCH_ROUNDS") or default)
    for number in range(wanted):
        print(f"  round {number + 1} of {wanted}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        yield number


class Table:
    """Measurements by name, in the order they first came. `unit` scales seconds into what `measured` says."""

    def __init__(self, first: str, measured: str, unit: float) -> None:
        self._head = (first, measured, "least")
        self._unit = unit
        self._found: dict[str, list[float]] = {}
        self._missing: dict[str, str] = {}

    def add(self, name: str, measured: float | str) -> None:
        """One measurement in seconds, or in words why there is none."""
        if isinstance(measured, str):
            self._missing[name] = measured
        else:
            self._found.setdefault(name, []).append(measured * self._unit)

    def show(self, *, least_too: bool = True, **compared: Callable[[Callable[[str], float], str], str]) -> None:
        """Print it. Each of `compared` makes a column: from (what gives a name's number, the row's name) to a cell, of the medians, and
        again of the least: on a busy machine that is nearer to the truth, where all took about as long."""
        medians = {name: statistics.median(found) for name, found in self._found.items()}
        least = {name: min(found) for name, found in self._found.items()}
        numbers_by_word = {"": medians} | ({", of the least": least} if least_too else {})
        columns = [f"{what.replace('_', ' ')}{word}" for what in compared for word in numbers_by_word]
        print(f"\n| {' | '.join((*self._head, *columns))} |\n|{'---|' * (3 + len(columns))}")
        for name in self._found:
            cells = [compare(numbers.__getitem__, name) for compare in compared.values() for numbers in numbers_by_word.values()]
            print(f"| {' | '.join((name, f'{medians[name]:,.4g}', f'{least[name]:,.4g}', *cells))} |")
        for name, why in self._missing.items():
            print(f"\nLeft out: {name}: {why}")
