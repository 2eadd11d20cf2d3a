"""`PYTHON benchmarks/engine_peers.py ENGINE COUNT`: what another engine takes for each mini-batch of five paths with a run() that does
nothing, on two workers. Prints seconds, from a fifth of the results to the last. Any interpreter that has the engine will do.

Each is used as its own documentation does it. Results are read as they come; nobody writes them anywhere.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

Batches = list[list[str]]
WORKERS = 2


def run(mini_batch: list[str]) -> list[str]:
    return mini_batch


def plain_loop(batches: Batches) -> Iterable[object]:
    return map(run, batches)


def pool(batches: Batches) -> Iterator[object]:
    with multiprocessing.Pool(WORKERS) as workers:
        yield from workers.imap(run, batches)


def executor(batches: Batches) -> Iterator[object]:
    with ProcessPoolExecutor(WORKERS) as workers:
        yield from workers.map(run, batches)


def loky(batches: Batches) -> Iterator[object]:
    with importlib.import_module("joblib.externals.loky").ProcessPoolExecutor(WORKERS) as workers:
        yield from workers.map(run, batches)


def joblib(batches: Batches) -> Iterator[object]:
    engine = importlib.import_module("joblib")
    yield from engine.Parallel(WORKERS, return_as="generator")(engine.delayed(run)(batch) for batch in batches)


def pebble(batches: Batches) -> Iterator[object]:
    with importlib.import_module("pebble").ProcessPool(WORKERS) as workers:
        yield from workers.map(run, batches, timeout=60).result()


def dask(batches: Batches) -> Iterator[object]:
    engine = importlib.import_module("dask.distributed")
    with (
        engine.LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        engine.Client(cluster) as client,
    ):
        yield from engine.as_completed(client.map(run, batches, pure=False), with_results=True)


def ray_actors(batches: Batches) -> Iterator[object]:
    ray = importlib.import_module("ray")
    actor_pool = importlib.import_module("ray.util").ActorPool
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    actor = ray.remote(Scorer)
    yield from actor_pool([actor.remote() for _ in range(WORKERS)]).map_unordered(lambda one, batch: one.run.remote(batch), batches)
    ray.shutdown()


class Scorer:
    """What Ray makes an actor of."""

    def run(self, mini_batch: list[str]) -> list[str]:
        return mini_batch


ENGINES: dict[str, tuple[Callable[[Batches], Iterable[object]], int]] = {
    "plain loop": (plain_loop, 200_000),
    "multiprocessing.Pool": (pool, 20_000),
    "ProcessPoolExecutor": (executor, 10_000),
    "loky": (loky, 10_000),
    "joblib, its own batching": (joblib, 50_000),
    "pebble, with time-outs": (pebble, 10_000),
    "Dask": (dask, 3_000),
    "Ray actors": (ray_actors, 5_000),
}
"""Each engine, and for how many mini-batches: a second or two of its work."""


def seconds_each(results: Iterable[object], count: int) -> float:
    warm, begin, number = count // 5, 0.0, 0
    for number, _ in enumerate(results, 1):
        if number == warm:
            begin = time.perf_counter()
        elif number == count:
            end = time.perf_counter()
    assert number == count, f"{number} results of {count}"
    return (end - begin) / (count - warm)


def main() -> None:
    engine, count = ENGINES[sys.argv[1]][0], int(sys.argv[2])
    batches = [[f"/nowhere/{number // 200:04}/file-{5 * number + i:07}.csv" for i in range(5)] for number in range(count)]
    try:
        answer: Any = seconds_each(engine(batches), count)
    except ModuleNotFoundError as error:
        sys.exit(f"not installed: {error.name}")
    print(answer)


if __name__ == "__main__":
    main()
