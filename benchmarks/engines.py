"""What each engine adds for each mini-batch: run() does nothing, mini-batches of five, two workers; ours with its journal, its rows
written, exactly once. One engine after the other, in several rounds, so that a busy machine is busy for all of them.

The peers run in `BENCH_PYTHON` (default: this interpreter); one that isn't installed there is left out by name.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.engine_peers import ENGINES
from benchmarks.measured_run import NOTHING, home, measure, request, synthetic_dataset
from benchmarks.table import Table, rounds
from services.local.workspace import LocalWorkspace

OURS = "this engine, journal and all"
MINI_BATCHES = 40_000
PEERS = Path(__file__).with_name("engine_peers.py")


def peer(script: Path, *arguments: str, python: str | None = None) -> float | str:
    """What a script of peers measured, run by `python`, default `BENCH_PYTHON`; in words where it could not."""
    command = [python or os.environ.get("BENCH_PYTHON") or sys.executable, str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    return float(done.stdout.strip().splitlines()[-1])


def main() -> None:
    table = Table("engine", "µs a mini-batch", 1e6)
    with home() as folder:
        workspace = LocalWorkspace(folder)
        dataset = synthetic_dataset(folder, "nothing", 5 * MINI_BATCHES)
        script = folder.parent / "nothing.py"
        script.write_text(NOTHING, encoding="utf-8")
        for _ in rounds():
            table.add(OURS, measure(workspace, request(dataset, script, 5)).per_mini_batch())
            for name, (_, count) in ENGINES.items():
                table.add(name, peer(PEERS, name, str(count)))
    table.show(ours_by_it=lambda number, name: "" if name == OURS else f"{number(OURS) / number(name):.2f}")
