"""Does a larger run cost more a file? The same script that does nothing, mini-batches of five, two workers, on 10,000 to 1,000,000 files;
the runner's memory; and how long a run takes from submit() to its first prediction.

The files aren't there: the script opens none. Start-up is left out of the time a file.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measured_run import NOTHING, first_prediction, home, measure, request, synthetic_dataset
from benchmarks.table import Table, rounds
from services.local.workspace import LocalWorkspace

COUNTS = {10_000: 5, 100_000: 2, 1_000_000: 1}
"""Numbers of files, and how often each is run in a round."""
LIGHT = "import joblib, numpy\n" + NOTHING
LEAST = "10,000 files"


def main() -> None:
    with home() as folder:
        folder.mkdir()
        workspace = LocalWorkspace(folder)
        for name, source in {"nothing": NOTHING, "light": LIGHT}.items():
            (folder.parent / f"{name}.py").write_text(source, encoding="utf-8")
        _growth(workspace, folder.parent / "nothing.py")
        _start(workspace, folder.parent / "light.py")


def _growth(workspace: LocalWorkspace, script: Path) -> None:
    datasets = {count: synthetic_dataset(workspace.home, f"files-{count}", count) for count in COUNTS}
    steady, end = Table("steady state", "µs a file", 1e6), Table("from a fifth of the run to its very end", "µs a file", 1e6)
    memory: dict[int, list[int]] = {}
    for _ in rounds(3):
        for count, times in COUNTS.items():
            for _ in range(times):
                run = measure(workspace, request(datasets[count], script, 5))
                steady.add(f"{count:,} files", run.per_item())
                end.add(f"{count:,} files", run.per_mini_batch() / 5)
                memory.setdefault(count, []).append(run.peak_memory or 0)
    for table in (steady, end):
        table.show(least_too=False, by_that_of_10_thousand=lambda number, name: f"{number(name) / number(LEAST):.2f}")
    for count, peaks in memory.items():
        print(f"\nThe runner's peak memory at {count:,} files: {max(peaks) / 1e6:,.0f} MB")


def _start(workspace: LocalWorkspace, script: Path) -> None:
    """Submit to first prediction, for a script that imports only numpy and joblib, beside the bare imports."""
    dataset = synthetic_dataset(workspace.home, "few", 100)
    table = Table("from submit() to the first prediction", "s", 1)
    ours, bare = "a script that imports numpy and joblib", "python -c 'import joblib, numpy', alone"
    for _ in rounds(10):
        table.add(ours, first_prediction(workspace, request(dataset, script, 5)))
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import joblib, numpy"], check=True)
        table.add(bare, time.perf_counter() - begin)
    table.show(by_the_bare_imports=lambda number, name: f"{number(name) / number(bare):.2f}")
