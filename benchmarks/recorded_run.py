"""A run as it would have been left by a runner, without running it: the list of its files, its journal, its rows."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path

from services.domain import Environment, RunRequest
from services.local.run_folder import LocalRunFolder, PlannedDataset, RunPlan
from services.settings import ParallelRunSettings
from services.storage.journal import Attempt, AttemptStatus, Journal, Said

CLASSES = ("cat", "dog", "bird", "fish", "horse", "frog", "deer", "ship", "truck", "car")
REASONS = (
    "it has {} fields, and the model takes 12", "it is empty", "field {} is not a number", "it begins with a header row",
    "it is UTF-16 text, not UTF-8", "its fields are separated by semicolons", "it has {} rows", "byte {} can't be decoded",
    "it is truncated after {} bytes", "the checksum differs",
)  # fmt: skip
IN_A_FOLDER = 10_000
IN_A_MINI_BATCH = 100
FAILS_EVERY = 1_000  # mini-batches


def file_name(number: int) -> str:
    return f"{number // IN_A_FOLDER:04}/image-{number:08}.png"


def prediction(number: int) -> str:
    return CLASSES[(number * 2_654_435_761 >> 16) % len(CLASSES)]


def class_row(number: int) -> str:
    return f"image-{number:08}.png: {prediction(number)}"


def object_row(number: int) -> str:
    return f'image-{number:08}.png: {{"label": "{prediction(number)}", "score": {number % 9973 / 9973:.4f}, "boxes": {number % 17}}}'


def own_object_row(number: int) -> str:
    return f'{{"file": "image-{number:08}.png", "prediction": "{prediction(number)}", "score": {number % 9973 / 9973:.4f}}}'


def list_row(number: int) -> str:
    score = number % 9973 / 9973
    return f"image-{number:08}.png: [{score:.4f}, {1 - score:.4f}, {score / 2:.4f}]"


def recorded_run(home: Path, count: int, row: Callable[[int], str] = class_row) -> LocalRunFolder:
    """Of so many files, with such rows; one mini-batch in a thousand failed."""
    folder = _new_folder(home, f"recorded-{count}", count)
    with Journal(folder.path, writable=True) as journal, open(folder.rows_file, "wb") as rows:
        journal.add(_attempts(count, rows, row))
    return folder


def recorded_failures(home: Path, count: int) -> LocalRunFolder:
    """Of so many files, none of which has a row: the script said of each why, one of ten reasons, with numbers in it."""
    folder = _new_folder(home, f"failures-{count}", count)
    with Journal(folder.path, writable=True) as journal:
        for first in range(0, count, 1_000 * IN_A_MINI_BATCH):
            indices = [number // IN_A_MINI_BATCH for number in range(first, min(count, first + 1_000 * IN_A_MINI_BATCH), IN_A_MINI_BATCH)]
            journal.add(map(_short, indices), [Said(index, 1, [_line(number) for number in _numbers(index, count)]) for index in indices])
    folder.rows_file.touch()
    return folder


def _short(index: int) -> Attempt:
    sums = (IN_A_MINI_BATCH, 0, IN_A_MINI_BATCH)
    return Attempt(index, 1, 0, index % 2, 1_700_000_000 + index / 50, 0.02, 0.019, *sums, AttemptStatus.RUN_DONE, True, 0, 0)


def _line(number: int) -> tuple[str, str]:
    reason = REASONS[number * 2_654_435_761 // 65_536 % len(REASONS)]
    return "WARNING", f"'/data/images/{file_name(number)}' failed: {reason.format(number % 9_973)}"


def _numbers(index: int, count: int) -> range:
    return range(index * IN_A_MINI_BATCH, min(count, (index + 1) * IN_A_MINI_BATCH))


def _new_folder(home: Path, name: str, count: int) -> LocalRunFolder:
    folder = LocalRunFolder(home, name)
    folder.path.mkdir(parents=True)
    manifest = folder.path / "manifest-0.jsonl"
    with open(manifest, "w", encoding="ascii") as lines:
        lines.writelines(f"{json.dumps([file_name(number), 1000, 0])}\n" for number in range(count))
    settings = ParallelRunSettings(mini_batch_size=str(IN_A_MINI_BATCH), error_threshold=-1)
    dataset = PlannedDataset("images:1", str(home / "nowhere"), str(manifest), count)
    environment = Environment("", 0, "python", "3.11", {}, datetime.now(UTC))
    folder.create(RunPlan(RunRequest((), ("images:1",), "script.py", settings), (dataset,), (), {}, environment))
    return folder


def _attempts(count, rows, row) -> Iterator[Attempt]:  # type: ignore[no-untyped-def]
    end = 0
    for index in range(-(-count // IN_A_MINI_BATCH)):
        numbers = _numbers(index, count)
        failed, error = index % FAILS_EVERY == FAILS_EVERY - 1, ""
        texts: list[str] = []
        if failed:
            error = "ValueError: no such colour\nTraceback"
        else:
            texts = [f"{row(number)}\n" for number in numbers]
        rows.write("".join(texts).encode())
        begin, end = end, end + sum(map(len, texts))
        status = AttemptStatus.RUN_EXCEPTION if failed else AttemptStatus.RUN_DONE
        sums = (len(numbers), 0 if failed else len(numbers), len(numbers) if failed else 0)
        ends = array("Q", accumulate(map(len, texts))).tobytes()
        yield Attempt(
            index, 1, 0, index % 2, 1_700_000_000 + index / 50, 0.02, 0.019, *sums, status, True, begin, end, ends, None, "", error
        )  # fmt: skip
