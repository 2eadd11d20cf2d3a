"""How the results of a run grow: what is asked of 1, 10 and 100 million predictions, beside each other; the memory of the process that is
asked; an export beside DuckDB's own COPY of the same rows. `BENCH_ROWS` for another number of rows in the largest table.

The tables are made by the table's own writer from mini-batches that come ready: 100 million rows of a class and a score, as JSON objects,
in 10,000 folders, one mini-batch in a hundred failed. Each question is asked in a process that has the table open and was never asked it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.recorded_run import CLASSES, IN_A_FOLDER
from benchmarks.results import _begin, _memory, _timed
from services.predictions import charts, excel, exports
from services.predictions.columns import STATUSES, WAYS_OF_MATCHING, MatchedBy, Status, parquet_file
from services.predictions.filters import Condition, Filter, Operator
from services.predictions.matching import ReadRows, ScoredMiniBatch
from services.predictions.reader import Predictions
from services.predictions.table_file import cache_folder
from services.predictions.writer import make_table

ROWS = int(os.environ.get("BENCH_ROWS") or 100_000_000)
SIZES = (ROWS // 100, ROWS // 10, ROWS)
A_CLASS = Filter(classes=("cat",))
A_FOLDER = Filter(conditions=(Condition("Folder", Operator.ONE_OF, ("0012",)),))
EVERY_ROW = Filter(statuses=tuple(Status))
A_RANGE = Filter(conditions=(Condition("score", Operator.FROM, ("0.25",)), Condition("score", Operator.BELOW, ("0.5",))))
A_TEXT = Filter(text="GE-0077")
TWO = Filter(classes=("cat",), conditions=A_RANGE.conditions)
_A_MINI_BATCH = 1_000
_FAILS_EVERY = 100
_SUCCEEDED = bytes([STATUSES.index(Status.SUCCEEDED)]) * _A_MINI_BATCH
_FAILED = bytes([STATUSES.index(Status.FAILED)]) * _A_MINI_BATCH
_BY_NAME = bytes([WAYS_OF_MATCHING.index(MatchedBy.NAME)]) * _A_MINI_BATCH
_NO_WAY = bytes([len(WAYS_OF_MATCHING)]) * _A_MINI_BATCH
_NONE: list[str | None] = [None] * _A_MINI_BATCH


def mini_batches(count: int) -> Iterator[ScoredMiniBatch]:
    """Of so many rows, a thousand each; those that are matched already."""
    numbers = range(9_973 + _A_MINI_BATCH)
    scores = [round(number % 9_973 / 9_973, 4) for number in numbers]
    texts = [
        json.dumps({"prediction": CLASSES[n * 2_654_435_761 % 9_973 % 10], "score": score})
        for n, score in zip(numbers, scores, strict=True)
    ]
    for index in range(count // _A_MINI_BATCH):
        first = index * _A_MINI_BATCH
        folder = f"{first // IN_A_FOLDER:04}/image-"
        files = [f"{folder}{number:09}.png" for number in range(first, first + _A_MINI_BATCH)]
        rows = ReadRows(files, texts[first % 9_973 :][:_A_MINI_BATCH], _SUCCEEDED, _NONE, _BY_NAME)
        if failed := index % _FAILS_EVERY == _FAILS_EVERY - 1:
            errors = [f"ValueError: {file} is empty" for file in files]
            rows = ReadRows(files, _NONE, _FAILED, errors, _NO_WAY)
        yield ScoredMiniBatch(
            index, files, "/data", (), f"node 0, process00{index % 2}", 1, 0.02, "ValueError" if failed else "",
            ended_at=1_700_000_000 + index / 50, read=rows,
        )  # fmt: skip


def questions(table: Predictions) -> dict[str, Callable[[], object]]:
    """What is asked, in this order."""
    facets = ("Prediction", "Status", "Folder", "Cause", "Worker")
    filters = {"no filter": Filter(), "a class": A_CLASS, "a folder": A_FOLDER, "a status": EVERY_ROW, "a range": A_RANGE}
    asked: dict[str, Callable[[], object]] = {"first page": table.page}
    for name, filter_ in filters.items():
        asked[f"{name}: its count"] = partial(table.count, filter_)
        for column in facets:
            asked[f"{name}: facet {column}"] = partial(table.facet, column, filter_)
        asked[f"{name}: histogram of the score"] = partial(charts.histogram, table, filter_, 60, "score")
        for place, share in (("middle", 2), ("end", 1)):
            asked[f"{name}: a page at its {place}"] = partial(_page, table, filter_, share)
    asked["a brush: count, histogram and all facets, again elsewhere"] = lambda: _brush(table, facets)
    asked["scan: a class and a range, facet Folder"] = lambda: table.facet("Folder", TWO)
    asked["scan: a substring of file names, its count and first page"] = lambda: (table.count(A_TEXT), table.page(A_TEXT))
    asked["scan: facet Prediction under it"] = lambda: table.facet("Prediction", A_TEXT)
    return asked


def _page(table: Predictions, filter_: Filter, share: int) -> None:
    table.page(filter_, max(0, table.count(filter_) // share - 100), columns=exports.shown_columns(table, filter_))


def _brush(table: Predictions, facets: tuple[str, ...]) -> None:
    brushed = Filter(conditions=(Condition("score", Operator.FROM, ("0.6",)), Condition("score", Operator.BELOW, ("0.68",))))
    table.count(brushed)
    charts.histogram(table, brushed, 60, "score")
    for column in facets:
        table.facet(column, brushed)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="batch-scoring-bench-") as folder:
        columns: dict[int, dict[str, str]] = {}
        for count in SIZES:
            columns[count] = measured(Path(folder) / f"predictions-{count}.parquet", count)
        names = list(dict.fromkeys(name for column in columns.values() for name in column))
        print(f"\n| | {' | '.join(f'{count:,}' for count in SIZES)} | the last by the one before |\n|{'---|' * (len(SIZES) + 2)}")
        for name in names:
            cells = [column.get(name, "") for column in columns.values()]
            print(f"| {name} | {' | '.join(cells)} | {_growth(cells)} |")


def measured(table: Path, count: int) -> dict[str, str]:
    """What is measured of a table of so many rows, which is made, asked and removed."""
    print(f"  {count:,} rows; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    found = _told("make", str(table), str(count))
    found["its file"] = f"{table.stat().st_size / 1e6:,.0f} MB"
    for what in ("ask", "session", "csv", "copy", "excel"):
        shutil.rmtree(cache_folder(table), ignore_errors=True)
        found |= _told(what, str(table))
    table.unlink()
    shutil.rmtree(cache_folder(table), ignore_errors=True)
    return found


def _told(*words: str) -> dict[str, str]:
    """What a process of its own tells."""
    command = [sys.executable, "-m", "benchmarks.results_growth", *words]
    return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))


def _growth(cells: list[str]) -> str:
    numbers = [float(cell.split()[0].replace(",", "")) if cell else 0.0 for cell in cells[-2:]]
    return f"{numbers[1] / numbers[0]:.1f}" if len(numbers) == 2 and all(numbers) else ""


# ---- in a process of its own -------------------------------------------------------------------------------------------------------------


def make(table: Path, count: int) -> dict[str, str]:
    make_table([], table)  # what is imported doesn't count
    begin, cpu = time.perf_counter(), time.process_time()
    make_table(mini_batches(count), table)
    return {
        "making it, µs a row, the making of its rows included": f"{(time.perf_counter() - begin) / count * 1e6:.2f}",
        "processor time": f"{(time.process_time() - cpu) / count * 1e6:.2f}",
    }


def ask(path: Path) -> dict[str, str]:
    Predictions(path).page()
    found = {"opening it, with its first page": f"{_timed(lambda: Predictions(path).page()) * 1e3:.1f} ms"}
    table = Predictions(path)
    for name, question in questions(table).items():
        found[name] = f"{_timed(question) * 1e3:.1f} ms"
    return found


def session(path: Path) -> dict[str, str]:
    """The memory of a process that pages, filters, charts and exports."""
    table = Predictions(path)
    for question in questions(table).values():
        question()
    for part in exports.export(".csv", table, A_CLASS):
        len(part)
    few = Filter(conditions=(Condition("score", Operator.FROM, ("0.4",)), Condition("score", Operator.BELOW, ("0.405",))))
    for part in exports.export(".parquet", table, few):
        len(part)
    return {"memory of the process, at most": f"{_memory('VmHWM') / 1e3:,.0f} MB"}


def csv(path: Path) -> dict[str, str]:
    table = Predictions(path)
    before = _begin()
    seconds = _timed(lambda: sum(map(len, exports.export(".csv", table))))
    return {
        "export of all as CSV": f"{seconds:.2f} s",
        "memory it takes on top": f"{(_memory('VmHWM') - before) / 1e3:,.0f} MB",
    }


def copy(path: Path) -> dict[str, str]:
    import duckdb

    table = Predictions(path)
    columns = ", ".join(map(table.column_name, exports.shown_columns(table)))
    database = duckdb.connect(config={"memory_limit": "512MB"})
    target = path.with_suffix(".csv")
    query = f"COPY (SELECT {columns} FROM {parquet_file(path)} WHERE Status <> 'failed') TO '{target}' (FORMAT csv)"
    seconds = _timed(lambda: database.execute(query))
    target.unlink()
    return {"DuckDB's own COPY of the same": f"{seconds:.2f} s"}


def excel_file(path: Path) -> dict[str, str]:
    """Of the largest part of the rows that a sheet holds, by their score; the seconds are those of a million."""
    table = Predictions(path)
    bars, count, few = table.histogram("score", most=1_000), 0, Filter()
    for _, upper, of_bar in bars:
        count += of_bar
        if count > excel.ROWS:
            break
        few = Filter(conditions=(Condition("score", Operator.BELOW, (repr(upper),)),))
    count = table.count(few)
    seconds = _timed(lambda: sum(map(len, exports.export(".xlsx", table, few, columns=["File", "Prediction", "score", "Worker"]))))
    return {"Excel, a million rows of four columns": f"{seconds / count * 1e6:.1f} s"}


if __name__ == "__main__":
    if sys.argv[1:]:
        what, path, *rest = sys.argv[1:]
        commands: dict[str, Callable[..., dict[str, str]]] = {
            "make": make, "ask": ask, "session": session, "csv": csv, "copy": copy, "excel": excel_file,
        }  # fmt: skip
        print(json.dumps(commands[what](Path(path), *map(int, rest))))
    else:
        main()
