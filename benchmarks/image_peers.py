"""`PYTHON benchmarks/image_peers.py MODEL PATHS COUNT`: the loop that a user would write over images, in a process for each core, as
fast as it goes: Pillow, one call of ONNX Runtime for each fifty. Prints seconds an image, start-up aside, its output left in memory.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

WORKERS, BATCH = 2, 50
WARM = 2 * BATCH


def _loop(model: str, paths: list[str], ready: Any, answers: Any) -> None:
    numpy, image, runtime = (importlib.import_module(name) for name in ("numpy", "PIL.Image", "onnxruntime"))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def score(some: list[str]) -> list[str]:
        pixels = numpy.stack([numpy.asarray(image.open(path).convert("RGB")) for path in some])
        batch = numpy.ascontiguousarray(pixels.astype(numpy.float32).transpose(0, 3, 1, 2)) / numpy.float32(255)
        probabilities = session.run(None, {name: batch})[0]
        classes, chances = probabilities.argmax(axis=1).tolist(), probabilities.max(axis=1).tolist()
        return [f"{Path(path).name} {class_} {chance}" for path, class_, chance in zip(some, classes, chances, strict=True)]

    score(paths[:WARM])
    ready.wait()
    begin = time.monotonic()
    rows = [row for first in range(0, len(paths), BATCH) for row in score(paths[first : first + BATCH])]
    end = time.monotonic()
    assert len(rows) == len(paths)
    answers.put((begin, end))


def main() -> None:
    model, listed, count = sys.argv[1:]
    paths = Path(listed).read_text(encoding="utf-8").splitlines()[: int(count)]
    spawn = multiprocessing.get_context("spawn")
    ready, answers = spawn.Barrier(WORKERS), spawn.SimpleQueue()
    workers = [spawn.Process(target=_loop, args=(model, paths[number::WORKERS], ready, answers)) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    stamps = [answers.get() for _ in workers]
    for worker in workers:
        worker.join()
    print((max(end for _, end in stamps) - min(begin for begin, _ in stamps)) / len(paths))


if __name__ == "__main__":
    main()
