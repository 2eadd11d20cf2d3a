"""One million failed items, each with its own sentence: their table, their causes, and what a run's page asks. `BENCH_ROWS` for another
number of items.

No run is executed: the list of files and the journal are written as a runner leaves them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.recorded_run import recorded_failures
from benchmarks.table import Table, rounds
from services.local import output_reader
from services.predictions import exports, failures
from services.predictions.filters import EVERY_FAILURE
from services.predictions.reader import Predictions
from services.predictions.table_file import cache_folder
from services.predictions.writer import make_table

ITEMS = int(os.environ.get("BENCH_ROWS") or 1_000_000)


def main() -> None:
    measured = Table(f"{ITEMS:,} failed items", "ms", 1e3)
    with tempfile.TemporaryDirectory(prefix="batch-scoring-bench-") as home:
        folder = recorded_failures(Path(home), ITEMS)
        table = folder.path / "failures.parquet"
        make_table([], table)  # imports what it takes
        for _ in rounds():
            measured.add("making the table, all of it", _timed(lambda: make_table(output_reader.settled(folder), table)))
            shutil.rmtree(cache_folder(table), ignore_errors=True)
            _ask(table, measured)
        measured.show()
        sizes = {"journal": folder.path / "journal.db", "table": table}
        print("\nOn disk:", "; ".join(f"{name} {path.stat().st_size / 1e6:,.0f} MB" for name, path in sizes.items()))


def _ask(path: Path, measured: Table) -> None:
    table = Predictions(path)
    measured.add("the causes with their counts, for the first time", _timed(lambda: failures.failure_causes(table)))
    measured.add("the same again", _timed(lambda: failures.failure_causes(table)))
    causes = failures.failure_causes(table)
    measured.add("the first page of items", _timed(lambda: failures.failed_items(table)))
    measured.add("the first page of a cause", _timed(lambda: failures.failed_items(table, causes[3].cause)))
    measured.add("a page in the middle, for the first time", _timed(lambda: failures.failed_items(table, None, ITEMS // 2)))
    measured.add(
        "a page in the middle of a cause, for the first time", _timed(lambda: failures.failed_items(table, causes[4].cause, ITEMS // 20))
    )
    measured.add("the next page of it", _timed(lambda: failures.failed_items(table, causes[4].cause, ITEMS // 20 + 100)))
    measured.add("the facet Cause", _timed(partial(table.facet, "Cause", EVERY_FAILURE)))
    measured.add("all as CSV", _timed(lambda: sum(map(len, exports.export(".csv", table, EVERY_FAILURE)))))


def _timed(question: Callable[[], object]) -> float:
    begin = time.perf_counter()
    question()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
