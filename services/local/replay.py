"""*Replay this mini-batch*: a process that scores it again is waited for, and what it tells is passed on. See replay_process.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as with_changes
from pathlib import Path
from typing import Any

from services.domain import Run
from services.local import scratch_process
from services.run_details import PrintedLine, Replay, ReplayProgress, ReplayStage
from services.storage.serialization import from_builtins

STOPPED = "The replay was stopped."


def replay(run: Run, home: Path, mini_batch: int, stopped: Callable[[], bool], progress: Callable[[ReplayProgress], None]) -> Replay:
    """See `services.workspace.Workspace.replay`. Raises StudioError."""
    so_far = ReplayProgress()

    def told(value: dict[str, Any]) -> None:
        nonlocal so_far
        if "stage" in value:
            so_far = with_changes(so_far, stage=ReplayStage(value["stage"]))
        if "changes" in value:
            so_far = with_changes(so_far, changes=tuple(value["changes"]))
        if "printed" in value:
            so_far = with_changes(so_far, printed=(*so_far.printed, *(PrintedLine(*line) for line in value["printed"])))
        progress(so_far)

    request = {"run": run.id, "reused_from": run.reused_from, "mini_batch": mini_batch}
    answer = scratch_process.answer_of(
        home, "services.local.replay_process", request, stopped=stopped, told=told,
        what_failed=f"Mini-batch {mini_batch} of {run.id} could not be scored again",
    )  # fmt: skip
    if answer is None:
        return Replay(run.id, mini_batch, changes=so_far.changes, printed=so_far.printed, error=STOPPED)
    return from_builtins(answer, Replay)
