"""`PYTHON benchmarks/script_peers.py WHAT MODEL PATHS COUNT`: the tutorial's script without an engine, the limit, and Ray Data.

PATHS is a file of absolute paths, one a line, of which the first COUNT are used. Prints seconds a file. What is timed from outside, from
the interpreter's start to its end, prints only how many rows it made.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

SCRIPTS = Path(__file__).parents[1] / "tests" / "scripts"
WORKERS = 2
MINI_BATCH = 5
WARM = 200  # files


def tutorial(model: str) -> ModuleType:
    """The tutorial's script after init(). What it imports of Azure takes seconds, so it gets a stand-in that names the model's path."""
    core = ModuleType("azureml.core")
    core.Model = SimpleNamespace(get_model_path=lambda _: model)  # type: ignore[attr-defined]
    sys.modules |= {"azureml": ModuleType("azureml"), "azureml.core": core}
    sys.path.insert(0, str(SCRIPTS))
    script = importlib.import_module("tutorial_script")
    script.init()
    return script


def loop(model: str, paths: list[str]) -> float:
    """The tutorial's script in a plain loop: seconds a file, without start-up."""
    script = tutorial(model)
    script.run(paths[:WARM])
    begin = time.perf_counter()
    for first in range(0, len(paths), MINI_BATCH):
        script.run(paths[first : first + MINI_BATCH])
    return (time.perf_counter() - begin) / len(paths)


def whole_loop(model: str, paths: list[str]) -> int:
    """The same from start to end, the rows written to a file."""
    script, count = tutorial(model), 0
    with open(f"{model}.rows", "w", encoding="utf-8") as rows:
        for first in range(0, len(paths), MINI_BATCH):
            found = script.run(paths[first : first + MINI_BATCH])
            rows.writelines(f"{row}\n" for row in found)
            count += len(found)
    return count


def limit(model: str, paths: list[str]) -> float:
    """Each file opened and read once, all parsed and predicted in one piece, in a process for each of two cores: seconds a file."""
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(WORKERS)
    answers = spawn.SimpleQueue()
    parts = [paths[number::WORKERS] for number in range(WORKERS)]
    workers = [spawn.Process(target=_one_piece, args=(model, part, ready, answers)) for part in parts]
    for worker in workers:
        worker.start()
    stamps = [answers.get() for _ in workers]
    for worker in workers:
        worker.join()
    return float(max(end for _, end in stamps) - min(begin for begin, _ in stamps)) / len(paths)


def _one_piece(model_file: str, paths: list[str], ready: Any, answers: Any) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    model = importlib.import_module("joblib").load(model_file)
    numbers = _read_and_parse(paths[:WARM])
    model.predict(numbers)
    ready.wait()
    begin = time.monotonic()
    predictions = model.predict(_read_and_parse(paths))
    end = time.monotonic()
    assert len(predictions) == len(paths)
    answers.put((begin, end))


def _read_and_parse(paths: list[str]) -> Any:
    csv, pyarrow, numpy = (importlib.import_module(name) for name in ("pyarrow.csv", "pyarrow", "numpy"))
    rows = []
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        rows.append(os.read(handle, 4096))
        os.close(handle)
    options = csv.ReadOptions(use_threads=False, autogenerate_column_names=True, block_size=1 << 30)
    return numpy.column_stack([column.to_numpy() for column in csv.read_csv(pyarrow.BufferReader(b"".join(rows)), options).columns])


def in_ray_data(model: str, paths: list[str]) -> int:
    """The tutorial's script as a Ray Data actor pool, the rows written to a file."""
    ray = importlib.import_module("ray")
    ray_data = importlib.import_module("ray.data")
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")

    class Scorer:
        def __init__(self) -> None:
            self.script = _this_module().tutorial(model)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            return {"row": self.script.run(batch["item"].tolist())}

    dataset = ray_data.from_items(paths).map_batches(Scorer, batch_size=MINI_BATCH, compute=ray_data.ActorPoolStrategy(size=WORKERS))
    count = 0
    with open(f"{model}.rows", "w", encoding="utf-8") as rows:
        for one in dataset.iter_rows():
            rows.write(f"{one['row']}\n")
            count += 1
    ray.shutdown()
    return count


def _this_module() -> ModuleType:
    """This file, imported in a Ray worker."""
    sys.path.insert(0, str(Path(__file__).parent))
    return importlib.import_module("script_peers")


WHAT: dict[str, Callable[[str, list[str]], float]] = {"loop": loop, "whole-loop": whole_loop, "limit": limit, "ray-data": in_ray_data}


def main() -> None:
    what, model, listed, count = sys.argv[1:]
    paths = Path(listed).read_text(encoding="utf-8").splitlines()[: int(count)]
    try:
        answer = WHAT[what](model, paths)
    except ModuleNotFoundError as error:
        sys.exit(f"not installed: {error.name}")
    print(answer)


if __name__ == "__main__":
    main()
