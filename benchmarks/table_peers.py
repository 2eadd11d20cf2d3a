"""`PYTHON benchmarks/table_peers.py WHAT MODEL CSV OUTPUT`: a CSV file scored by a pandas loop, joblib, Dask, Ray Data; and the limit.

Prints seconds for the whole file, from when the engine is up and the model is read to the last row written into the file or folder OUTPUT:
prediction and probability of each row as text, on two cores. Each is used as its own documentation does it.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORKERS = 2
CHUNK = 50_000  # rows
TEXT = {"sep": " ", "header": False, "index": False}
_models: dict[str, Any] = {}


def model_of(path: str) -> Any:
    if path not in _models:
        _models[path] = importlib.import_module("joblib").load(path)
    return _models[path]


def score(frame: Any, model: str) -> Any:
    """What a user's loop does with a DataFrame of some rows."""
    pandas, fitted = importlib.import_module("pandas"), model_of(model)
    probabilities = fitted.predict_proba(frame)
    return pandas.DataFrame({"prediction": fitted.classes_[probabilities.argmax(axis=1)], "probability": probabilities.max(axis=1)})


def text_of(frame: Any, model: str) -> str:
    return str(score(frame, model).to_csv(**TEXT))


def limit(model: str, path: str, output: str) -> float:
    """pyarrow reads all with a thread for each core, one predict_proba; no output."""
    pandas, csv = importlib.import_module("pandas"), importlib.import_module("pyarrow.csv")
    fitted = model_of(model)
    fitted.predict_proba(pandas.read_csv(path, nrows=10))
    begin = time.perf_counter()
    table = csv.read_csv(path)
    probabilities = fitted.predict_proba(table.to_pandas())
    assert len(probabilities) == len(table)
    return time.perf_counter() - begin


def loop(model: str, path: str, output: str) -> float:
    pandas = importlib.import_module("pandas")
    text_of(pandas.read_csv(path, nrows=10), model)
    begin = time.perf_counter()
    with open(output, "w", encoding="utf-8") as rows:
        for chunk in pandas.read_csv(path, chunksize=CHUNK):
            rows.write(text_of(chunk, model))
    return time.perf_counter() - begin


def loop_without_output(model: str, path: str, output: str) -> float:
    pandas = importlib.import_module("pandas")
    score(pandas.read_csv(path, nrows=10), model)
    begin = time.perf_counter()
    for chunk in pandas.read_csv(path, chunksize=CHUNK):
        score(chunk, model)
    return time.perf_counter() - begin


def joblib(model: str, path: str, output: str) -> float:
    pandas, engine = importlib.import_module("pandas"), importlib.import_module("joblib")
    with engine.Parallel(WORKERS, return_as="generator") as parallel:
        few = pandas.read_csv(path, nrows=10)
        list(parallel(engine.delayed(text_of)(few, model) for _ in range(2 * WORKERS)))
        begin = time.perf_counter()
        with open(output, "w", encoding="utf-8") as rows:
            rows.writelines(parallel(engine.delayed(text_of)(chunk, model) for chunk in pandas.read_csv(path, chunksize=CHUNK)))
        return time.perf_counter() - begin


def dask(model: str, path: str, output: str) -> float:
    frames, engine = importlib.import_module("dask.dataframe"), importlib.import_module("dask.distributed")
    pandas = importlib.import_module("pandas")
    meta = score(pandas.read_csv(path, nrows=10), model)
    with (
        engine.LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        engine.Client(cluster) as client,
    ):
        client.gather([client.submit(text_of, pandas.read_csv(path, nrows=10), model, pure=False) for _ in range(2 * WORKERS)])
        begin = time.perf_counter()
        scored = frames.read_csv(path, blocksize="8MB").map_partitions(score, model, meta=meta)
        scored.to_csv(os.path.join(output, "part-*.txt"), **TEXT)
        return time.perf_counter() - begin


class Scorer:
    """What Ray Data makes an actor of."""

    def __init__(self, model: str) -> None:
        self.model = model

    def __call__(self, batch: Any) -> Any:
        return score(batch, self.model)


def ray_options() -> dict[str, Any]:
    """A function, since they can't be pickled."""
    csv = importlib.import_module("pyarrow.csv")
    return {"write_options": csv.WriteOptions(include_header=False, delimiter=" ", quoting_style="none")}


def ray_data(model: str, path: str, output: str) -> float:
    ray, data = importlib.import_module("ray"), importlib.import_module("ray.data")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # of the actors
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    data.DataContext.get_current().enable_progress_bars = False
    this = importlib.import_module("table_peers")
    begin = time.perf_counter()
    scored = data.read_csv(path).map_batches(
        this.Scorer, fn_constructor_args=(model,), batch_format="pandas", batch_size=CHUNK, num_cpus=0.5,
        compute=data.ActorPoolStrategy(size=WORKERS),
    )  # fmt: skip
    scored.write_csv(output, arrow_csv_args_fn=this.ray_options)
    seconds = time.perf_counter() - begin
    ray.shutdown()
    return seconds


WHAT: dict[str, Callable[[str, str, str], float]] = {
    "limit": limit,
    "loop": loop,
    "loop-without-output": loop_without_output,
    "joblib": joblib,
    "dask": dask,
    "ray-data": ray_data,
}


def main() -> None:
    what, model, path, output = sys.argv[1:]
    try:
        seconds = WHAT[what](model, path, output)
    except ModuleNotFoundError as error:
        sys.exit(f"not installed: {error.name}")
    print(seconds)


if __name__ == "__main__":
    main()
