"""The results of ten million predictions, and of a tenth of them: making the table, asking it, taking it away; ours beside pandas and plain
Python over the exported CSV, where these can do it at all. `BENCH_ROWS` for another number of rows.

No run is executed: the list of files, the journal and the rows are written as a runner leaves them. A question is asked for the first
time in every round, what is kept beside the table having been removed, unless it says otherwise.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.recorded_run import CLASSES, class_row, list_row, object_row, own_object_row, recorded_run
from benchmarks.table import Table, rounds
from services.local import output_reader
from services.local.run_folder import LocalRunFolder
from services.predictions import exports
from services.predictions.filters import EVERY_PREDICTION, Filter, Order
from services.predictions.reader import Predictions, open_predictions
from services.predictions.table_file import cache_folder
from services.predictions.writer import make_table

ROWS = int(os.environ.get("BENCH_ROWS") or 10_000_000)
A_CLASS = Filter(classes=("cat",))
A_TEXT = Filter(text="GE-0077")
ROWS_OF = {
    "a class": class_row,
    "a JSON object": object_row,
    "a JSON object that names its file": own_object_row,
    "a list of numbers": list_row,
}
OURS, PANDAS, PLAIN = "ours", "pandas", "plain Python"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="batch-scoring-bench-") as folder:
        for count in (ROWS // 10, ROWS):
            print(f"\n{count:,} rows", flush=True)
            table = _make(Path(folder), count)
            _ask(table)
            _take(table)
            _peers(table)


def _make(folder: Path, count: int) -> Path:
    table = folder / f"predictions-{count}.parquet"
    measured = Table("making the table, all of it", "µs a row", 1e6)
    memory = {}
    for name, row in reversed(ROWS_OF.items()):  # what is asked afterwards is of classes
        run = recorded_run(folder / "home", count, row)
        for _ in rounds(2):
            seconds, memory[name] = _told("make", run.path, table)
            measured.add(name, seconds / count)
        shutil.rmtree(run.path)
    measured.show()
    print("\nMemory it takes on top, at most:", "; ".join(f"{name} {most:,.0f} MB" for name, most in memory.items()))
    return table


def make(run: Path, table: Path) -> None:
    """In a process of its own, as `export`."""
    make_table([], table)  # what is imported counts with neither
    before = _begin()
    begin = time.perf_counter()
    make_table(output_reader.settled(LocalRunFolder(run.parent.parent, run.name)), table)
    print(time.perf_counter() - begin, (_memory("VmHWM") - before) / 1e3)


def _told(what: str, *paths: Path) -> list[float]:
    """What a process of its own tells."""
    command = [sys.executable, "-m", "benchmarks.results", what, *map(str, paths)]
    return [float(word) for word in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]


def _timed(question: Callable[[], object]) -> float:
    begin = time.perf_counter()
    question()
    return time.perf_counter() - begin


def _ask(path: Path) -> None:
    measured, orders = Table("ours", "ms", 1e3), Table("preparing another order", "s", 1)
    for number in rounds():
        shutil.rmtree(cache_folder(path), ignore_errors=True)
        _ask_once(Predictions(path), measured)
        if number < 2:
            _order_once(Predictions(path), measured, orders)
    measured.show()
    orders.show()


def _ask_once(table: Predictions, measured: Table) -> None:
    total = table.count()
    measured.add("opening the table, its first page", _timed(lambda: Predictions(table.path).page()))
    open_predictions(table.path)
    measured.add("the same again, for the next rerun or another tab", _timed(lambda: open_predictions(table.path).page()))
    measured.add("a class filter, its count", _timed(lambda: table.count(A_CLASS)))
    measured.add("a class filter, its last page", _timed(lambda: table.page(A_CLASS, table.count(A_CLASS) - 100)))
    measured.add("a substring over file names, its count and first page", _timed(lambda: (table.count(A_TEXT), table.page(A_TEXT))))
    measured.add("a page on in it", _timed(lambda: table.page(A_TEXT, 100)))
    measured.add("every prediction, its first deep page", _timed(lambda: table.page(first=total // 2)))
    for tenth in range(10):
        measured.add("a page anywhere", _timed(partial(table.page, first=total * tenth // 10 + 7)))
    for column in ("Folder", "Prediction", "Status", "Mini-batch"):
        measured.add(f"the counts of a facet: {column}", _timed(partial(table.facet, column)))
    measured.add("the counts of a facet, again", _timed(partial(table.facet, "Folder")))


def _order_once(table: Predictions, measured: Table, orders: Table) -> None:
    for column in ("Prediction", "File", "Seconds"):
        orders.add(column, _timed(partial(table.prepare, Order(column))))
    for order in (Order("Prediction"), Order("File", descending=True)):
        table.page(order=order)
        for tenth in range(10):
            measured.add(
                "a page anywhere in another order",
                _timed(partial(table.page, first=table.count() * tenth // 10 + 7, order=order)),
            )


def _take(path: Path) -> None:
    measured = Table("export of all rows, as CSV", "s", 1)
    memory, sizes = [], []
    for _ in rounds(3):
        seconds, more, size = _told("export", path)
        measured.add(OURS, seconds)
        memory.append(more)
        sizes.append(size)
    count = Predictions(path).count()
    measured.show(million_rows_a_second=lambda number, name: f"{count / number(name) / 1e6:.1f}")
    print(f"\nIt is {sizes[0]:,.0f} MB, and took at most {max(memory):,.0f} MB of memory more")


def export(path: Path) -> None:
    """In a process of its own: the seconds it takes, and the MB between what it has just before and its peak meanwhile."""
    table = Predictions(path)
    table.page(A_CLASS)
    before = _begin()
    begin = time.perf_counter()
    size = sum(map(len, exports.export(".csv", table, EVERY_PREDICTION)))
    print(time.perf_counter() - begin, (_memory("VmHWM") - before) / 1e3, size / 1e6)


def _begin() -> int:
    """What this process has of memory, in KB; its peak begins again."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory("VmRSS")


def _memory(what: str) -> int:
    """Of this process, in KB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(f"{what}:")[2].split()[0])


def _peers(path: Path) -> None:
    """The same questions to pandas and to plain Python. They have read the exported file first, which is told apart."""
    exported = path.with_suffix(".csv")
    with open(exported, "wb") as file:
        file.writelines(exports.export(".csv", Predictions(path)))
    for name, peer in {PANDAS: _pandas, PLAIN: _plain}.items():
        measured = Table(name, "ms", 1e3)
        for _ in rounds(1):
            peer(exported, measured)
        measured.show(least_too=False)
    exported.unlink()


def _pandas(exported: Path, measured: Table) -> None:
    import pandas as pd

    begin = time.perf_counter()
    frame = pd.read_csv(exported, dtype=str, keep_default_na=False)
    measured.add("reading it", time.perf_counter() - begin)
    frame["Folder"] = frame["File"].str.rpartition("/")[0]
    measured.add("a class filter, its count", _timed(lambda: int((frame["Prediction"] == "cat").sum())))
    found = frame["File"].str.contains(A_TEXT.text, case=False, regex=False)
    measured.add(
        "a substring over file names, its count and first page",
        _timed(lambda: frame[frame["File"].str.contains(A_TEXT.text, case=False, regex=False)][:100]),
    )
    measured.add("a page on in it", _timed(lambda: frame[found][100:200]))
    measured.add("a page anywhere", _timed(lambda: frame[len(frame) // 2 :][:100]))
    measured.add("preparing another order", _timed(lambda: frame.sort_values("Prediction", kind="stable")))
    measured.add("the counts of a facet: Folder", _timed(frame["Folder"].value_counts))
    measured.add("export of all", _timed(lambda: frame[["File", "Prediction"]].to_csv(os.devnull, index=False)))


def _plain(exported: Path, measured: Table) -> None:
    begin = time.perf_counter()
    with open(exported, newline="", encoding="utf-8") as lines:
        rows = list(csv.reader(lines))[1:]
    measured.add("reading it", time.perf_counter() - begin)
    text = A_TEXT.text.lower()
    measured.add("a class filter, its count", _timed(lambda: sum(row[1] == CLASSES[0] for row in rows)))
    measured.add("a substring over file names, its count and first page", _timed(lambda: [row for row in rows if text in row[0].lower()]))
    measured.add("preparing another order", _timed(lambda: sorted(rows, key=lambda row: row[1])))


if __name__ == "__main__":
    if sys.argv[1:]:
        paths = [Path(path) for path in sys.argv[2:]]
        export(*paths) if sys.argv[1] == "export" else make(*paths)
    else:
        main()
