"""A CSV file of 2,000,000 rows of twelve numbers, logistic regression, prediction and probability of each row: two workers beside a plain
pandas loop, joblib, Dask, Ray Data and the limit; registering it, beside DuckDB's and pandas' reading of it; and half and double the rows.

Start-up is left out everywhere: ours is from a fifth of the run to Completed, for as many mini-batches as there are. The limit: pyarrow
reads the file with a thread for each core, one predict_proba, no output.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.engines import peer
from benchmarks.measured_run import home, measure
from benchmarks.table import Table, rounds
from services import PROJECT_ROOT
from services.domain import RunRequest
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings

ROWS, COLUMNS = 2_000_000, 12
PEERS = Path(__file__).with_name("table_peers.py")
LOOP, LIMIT = "pandas in chunks of 50,000, one process", "the limit"
NO_OUTPUT = "the same without output"
SCRIPT = """
import joblib, os, pandas
def init():
    global model
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.joblib"))
def run(rows):
    probabilities = model.predict_proba(rows)
    return pandas.DataFrame({"prediction": model.classes_[probabilities.argmax(axis=1)], "probability": probabilities.max(axis=1)})
"""
MAKE = """
import joblib, numpy, pandas, pyarrow, sys
from pyarrow import csv
from sklearn.linear_model import LogisticRegression
rows, columns, table, model = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
numbers = numpy.random.default_rng(0)
values = numpy.round(numbers.normal(size=(rows, columns)), 4)
names = [f"f{number}" for number in range(columns)]
csv.write_csv(pyarrow.table(dict(zip(names, values.T))), table)
some = pandas.DataFrame(values[:20_000], columns=names)
classes = (some.to_numpy() @ numbers.normal(size=columns) + numbers.logistic(size=len(some)) > 0).astype(int)
joblib.dump(LogisticRegression().fit(some, classes), model)
"""
READERS = {
    "DuckDB reads it": "import duckdb, time; duckdb.sql('SELECT 1'); begin = time.perf_counter(); "
    "duckdb.sql(f'CREATE TABLE t AS FROM read_csv({sys.argv[1]!r})'); print(time.perf_counter() - begin)",
    "pandas reads it": "import pandas, time; begin = time.perf_counter(); "
    "pandas.read_csv(sys.argv[1], low_memory=False); print(time.perf_counter() - begin)",
    "registering it, in its process": "import pandas, pathlib, time; from services.intake import tabular; begin = time.perf_counter(); "
    "tabular.inspect_table(pathlib.Path(sys.argv[1]).parent, pathlib.Path(sys.argv[2])); print(time.perf_counter() - begin)",
}


def main() -> None:
    with home() as folder:
        folder.mkdir()
        files = [make_table(folder.parent, rows) for rows in (ROWS // 2, ROWS, 2 * ROWS)]
        workspace = LocalWorkspace(folder)
        script = folder.parent / "score.py"
        script.write_text(SCRIPT, encoding="utf-8")
        model = workspace.register_model("model", folder.parent / "model.joblib", approve=True).reference
        datasets = [workspace.register_dataset(path.stem, path, type="tabular").reference for path in files]
        _register(workspace, files[1])
        _score(workspace, datasets[1], model, script, files[1])
        _grow(workspace, datasets, model, script)


def make_table(folder: Path, rows: int) -> Path:
    """A CSV file of so many rows in a folder of its own, and the model beside these folders."""
    path = folder / f"rows-{rows}" / f"table{rows}.csv"
    path.parent.mkdir()
    subprocess.run([sys.executable, "-c", MAKE, str(rows), str(COLUMNS), str(path), str(folder / "model.joblib")], check=True)
    return path


def request(dataset: str, model: str, script: Path, size: str, action: str = "append_row") -> RunRequest:
    settings = ParallelRunSettings(process_count_per_node=2, mini_batch_size=size, error_threshold=0, output_action=action)
    return RunRequest((model,), (dataset,), str(script), settings, allow_reuse=False)


def _score(workspace: LocalWorkspace, dataset: str, model: str, script: Path, path: Path) -> None:
    table, parts = Table(f"{ROWS:,} rows", "s", 1), Table(f"{ROWS:,} rows, start to end", "s", 1)
    model_path, output = workspace.model(model).path, path.parent / "output"
    ours = {
        f"{name}, mini-batches of {size}": (size, action)
        for name, action in (("ours, rows of text", "append_row"), ("ours, summary_only", "summary_only"))
        for size in ("1MB", "4MB")
    }

    def add_peer(name: str, what: str, python: str | None = None) -> None:
        table.add(name, peer(PEERS, what, model_path, str(path), str(output), python=python))
        shutil.rmtree(output) if output.is_dir() else output.unlink(missing_ok=True)

    for _ in rounds():
        add_peer(LOOP, "loop", sys.executable)
        add_peer(NO_OUTPUT, "loop-without-output", sys.executable)
        for name, (size, action) in ours.items():
            run = measure(workspace, request(dataset, model, script, size, action))
            table.add(name, run.per_mini_batch() * len(run.attempts))
            parts.add(f"{name}: submit() to the first mini-batch", min(one.started_at for one in run.attempts) - run.submitted_at)
            parts.add(f"{name}: submit() to Completed", run.seconds)
            parts.add(f"{name}: Completed to its table of predictions", run.seconds_after)
        add_peer("joblib over chunks, two processes", "joblib", sys.executable)
        add_peer("Dask, two processes", "dask")
        add_peer("Ray Data, two actors", "ray-data")
        add_peer(LIMIT, "limit", sys.executable)
    table.show(
        times_the_loop=lambda number, name: f"{number(LOOP) / number(name):.2f}",
        of_the_limit=lambda number, name: f"{number(LIMIT) / number(name):.0%}",
    )
    parts.show()


def _register(workspace: LocalWorkspace, path: Path) -> None:
    table, duckdb = Table(f"a CSV file of {path.stat().st_size / 1e6:,.0f} MB", "s", 1), next(iter(READERS))
    lists = path.parent.parent / "lists"
    lists.mkdir()
    modified = path.stat().st_mtime_ns
    (lists / "files.jsonl").write_text(f'["{path.name}", {path.stat().st_size}, {modified}]\n', encoding="ascii")
    for number in rounds():
        for name, code in READERS.items():
            command = [sys.executable, "-c", f"import sys\n{code}", str(path), str(lists)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PROJECT_ROOT)
            table.add(name, float(done.stdout))
        begin = time.perf_counter()
        workspace.register_dataset(f"again-{number}", path, type="tabular")
        table.add("registering it, all of it", time.perf_counter() - begin)
    table.show(by_DuckDB=lambda number, name: f"{number(name) / number(duckdb):.2f}")


def _grow(workspace: LocalWorkspace, datasets: list[str], model: str, script: Path) -> None:
    table, sizes = Table("rows", "µs a row", 1e6), (ROWS // 2, ROWS, 2 * ROWS)
    for _ in rounds():
        for rows, dataset in zip(sizes, datasets, strict=True):
            run = measure(workspace, request(dataset, model, script, "1MB"))
            table.add(f"{rows:,}", run.per_mini_batch() * len(run.attempts) / rows)
    table.show(by_that_of_the_fewest=lambda number, name: f"{number(name) / number(f'{sizes[0]:,}'):.2f}")


if __name__ == "__main__":
    main()
