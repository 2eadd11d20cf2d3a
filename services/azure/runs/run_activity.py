"""How a run on Azure ML went, by its downloaded table of attempts: which has it once the run has ended, or sooner where its logs are
followed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from services.azure.runs import job_logs
from services.azure.runs.job_logs import JobAttempt, Sentences
from services.domain import Run
from services.errors import NotFound
from services.run_details import MiniBatchAttempt, MiniBatchDetail, RunActivity
from services.scoring.run_cost import with_timeout
from services.storage.activity import Gathered, Workers, activity_of, gather_these
from services.storage.journal import TimedAttempt

_NO_TABLE_YET = "Azure ML tells what each mini-batch did when the run has ended; until then it tells how many are done."
_NO_TABLE = "Azure ML left no table of the mini-batches, so when and where each was scored is not known."
_NO_TIMES = "Azure ML's table of the mini-batches has no times, so when each was scored is not known."
_NO_WORKERS = "Azure ML does not tell when its workers started, what they are at, and how much memory they take."


def activity(run: Run, logs: Path) -> RunActivity:
    """As far as the logs that are here tell."""
    gathered, names = _gathered(logs, _modified_ns(logs))
    begin = (run.started_at or run.submitted_at).timestamp()
    limit = run.request.settings.run_invocation_timeout
    if gathered is None or not gathered.timeline:
        missing = _NO_TIMES if gathered else _NO_TABLE if run.status.ended else _NO_TABLE_YET
        failed = gathered.mini_batches_failed if gathered else None
        return RunActivity(begin, begin, 1.0, mini_batches_failed=failed, timeout=limit, unknown=(missing, _NO_WORKERS))
    told = activity_of(gathered, Workers(), now=None, name=lambda _, process: names[process])
    return replace(with_timeout(told, limit), unknown=(_NO_WORKERS,))


def _modified_ns(logs: Path) -> int:
    """When the table of attempts was written; 0 without one."""
    with suppress(OSError):
        return table.stat().st_mtime_ns if (table := job_logs.table_of_attempts(logs)) else 0
    return 0


@lru_cache(maxsize=32)
def _gathered(logs: Path, _modified: int) -> tuple[Gathered | None, list[str]]:
    """What the table comes to, kept until there is another; and the names of its processes."""
    every = job_logs.attempts(logs)
    if not every:
        return None, []
    names = sorted({attempt.process or "?" for attempt in every})
    last = {attempt.mini_batch: attempt for attempt in every}
    timed = [
        _timed(each, names, is_last=last[each.mini_batch] is each)
        for each in every
        if each.started_at is not None and each.elapsed is not None
    ]
    gathered = gather_these(timed)
    failed = sum(not attempt.succeeded for attempt in last.values())
    return replace(gathered, attempts=len(every), mini_batches_failed=failed), names


def _timed(attempt: JobAttempt, names: list[str], *, is_last: bool) -> TimedAttempt:
    assert attempt.started_at is not None
    assert attempt.elapsed is not None
    total = attempt.total or 0
    settled = (total - attempt.failed, attempt.failed) if is_last else (0, 0)
    seconds = attempt.elapsed if attempt.run_seconds is None else attempt.run_seconds
    return TimedAttempt(
        0, names.index(attempt.process or "?"), attempt.started_at, attempt.elapsed, seconds, attempt.mini_batch,
        attempt.attempt, total, attempt.status, attempt.failed > 0 or not attempt.succeeded, *settled, is_last and not attempt.succeeded,
    )  # fmt: skip


def _moment(attempt: JobAttempt) -> datetime | None:
    return None if attempt.started_at is None else datetime.fromtimestamp(attempt.started_at, UTC)


def mini_batch(run: Run, logs: Path, number: int) -> MiniBatchDetail:
    """The attempts at it, as far as the table tells; its items are not told. Raises NotFound for a number that the run can't have."""
    attempts = [attempt for attempt in job_logs.attempts(logs) if attempt.mini_batch == number]
    total = run.mini_batches_total
    if not attempts and (number < 0 or (total is not None and number >= total)):
        raise NotFound(f"Run {run.id} has no mini-batch {number}.", "They are numbered from 0, as in the table of predictions.")
    return _detail(run, number, attempts, Sentences(logs))


def mini_batches(run: Run, logs: Path) -> Iterator[MiniBatchDetail]:
    """All of them, with the attempts at them as far as the table tells."""
    attempts: dict[int, list[JobAttempt]] = {number: [] for number in range(run.mini_batches_total or 0)}
    for attempt in job_logs.attempts(logs):
        attempts.setdefault(attempt.mini_batch, []).append(attempt)
    sentences = Sentences(logs)
    for number in sorted(attempts):
        yield _detail(run, number, attempts[number], sentences)


def _detail(run: Run, number: int, attempts: Sequence[JobAttempt], sentences: Sentences) -> MiniBatchDetail:
    return MiniBatchDetail(
        number,
        ", ".join(run.request.datasets),
        "item",
        next((attempt.total for attempt in attempts if attempt.total is not None), None),
        (),
        tuple(
            MiniBatchAttempt(
                each.attempt, each.status, each.process, _moment(each), each.elapsed, each.run_seconds,
                None if each.total is None else each.total - each.failed, each.failed, each is attempts[-1], sentences.in_full(each),
            )
            for each in attempts
        ),
    )  # fmt: skip
