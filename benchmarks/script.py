"""The built-in script on 100,000 files of one row of eight numbers, logistic regression, two workers, beside the tutorial's script in a
plain loop and beside the limit; and from start to end on 10,000 files, beside the plain loop and Ray Data.

The limit: each file opened and read once, all parsed and predicted in one piece, on both cores. The plain loop gets its model's path,
so that it needn't import Azure's SDK, which would take it seconds.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from benchmarks.engines import peer
from benchmarks.measured_run import home, measure, request
from benchmarks.table import Table, rounds
from services.intake.entry_scripts import BUILT_IN
from services.local.workspace import LocalWorkspace

FILES, FEW = 100_000, 10_000
LOOPED = 2_000  # the plain loop's pace is the same for any number of files
SIZES = {5: 1, 100: 1, 1_000: 3, 5_000: 3}
"""Sizes of mini-batches, and how often the files are scored in one run: twenty mini-batches end before both workers are warm."""
PEERS = Path(__file__).with_name("script_peers.py")
SCRIPT = BUILT_IN / "batch_scoring_script.py"
LOOP = "the tutorial's script, plain loop"
LIMIT = "the limit"
RAY_DATA = "the tutorial's script, Ray Data"


def main() -> None:
    with home() as folder:
        folder.mkdir()
        workspace = LocalWorkspace(folder)
        print(f"  making {FILES:,} files", flush=True)
        model = _model(workspace, folder.parent / "model.joblib")
        paths = _files(folder.parent / "files")
        many = workspace.register_dataset("many", folder.parent / "files").reference
        few = workspace.register_dataset("few", folder.parent / "files", glob="0[0-9]/*").reference
        listed = folder.parent / "paths.txt"
        listed.write_text("\n".join(map(str, paths)), encoding="utf-8")
        _steady(workspace, many, model, listed)
        _end_to_end(workspace, few, model, listed)


def _steady(workspace: LocalWorkspace, dataset: str, model: str, listed: Path) -> None:
    table, model_path = Table("steady state", "µs a file", 1e6), workspace.model(model).path
    for _ in rounds():
        table.add(LOOP, peer(PEERS, "loop", model_path, str(listed), str(LOOPED), python=sys.executable))
        for size, times in SIZES.items():
            run = measure(workspace, request(dataset, SCRIPT, size, model, times))
            table.add(f"the built-in script, mini-batch {size:,}", run.per_item())
        table.add(LIMIT, peer(PEERS, "limit", model_path, str(listed), str(FILES), python=sys.executable))
    table.show(
        times_the_loop=lambda number, name: f"{number(LOOP) / number(name):.3g}",
        of_the_limit=lambda number, name: f"{number(LIMIT) / number(name):.0%}",
    )


def _end_to_end(workspace: LocalWorkspace, dataset: str, model: str, listed: Path) -> None:
    table, model_path = Table(f"{FEW:,} files, start to end", "s", 1), workspace.model(model).path
    ours = "the built-in script, mini-batch 100"
    for _ in rounds():
        for size in (5, 100):
            table.add(f"the built-in script, mini-batch {size}", measure(workspace, request(dataset, SCRIPT, size, model)).seconds)
        table.add(LOOP, _timed("whole-loop", model_path, str(listed), str(FEW), python=sys.executable))
        table.add(RAY_DATA, _timed("ray-data", model_path, str(listed), str(FEW)))
    table.show(it_by_ours=lambda number, name: "" if name == ours else f"{number(name) / number(ours):.2f}")


def _timed(*arguments: str, python: str | None = None) -> float | str:
    begin = time.perf_counter()
    rows = peer(PEERS, *arguments, python=python)
    seconds = time.perf_counter() - begin
    if isinstance(rows, str):
        return rows
    assert rows == FEW, f"{arguments[0]} made {rows} rows"
    return seconds


def _files(folder: Path) -> list[Path]:
    """The files, by the thousand in a folder, 00 to 99."""
    numbers = random.Random(1)
    paths = []
    for number in range(FILES):
        path = folder / f"{number // 1000:02}" / f"file-{number:06}.csv"
        path.parent.mkdir(parents=True, exist_ok=True) if number % 1000 == 0 else None
        path.write_text(",".join(f"{numbers.gauss(0, 1):.6f}" for _ in range(8)) + "\n", encoding="ascii")
        paths.append(path)
    return paths


def _model(workspace: LocalWorkspace, path: Path) -> str:
    import joblib
    from sklearn.linear_model import LogisticRegression

    numbers = random.Random(0)
    rows = [[numbers.gauss(0, 1) for _ in range(8)] for _ in range(500)]
    joblib.dump(LogisticRegression(max_iter=1000).fit(rows, [round(max(-1, min(1, sum(row)))) for row in rows]), path)
    return workspace.register_model("classification_model", path, approve=True).reference
