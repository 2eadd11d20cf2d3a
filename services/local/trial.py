"""*Try first*: a process that scores a few items of a run is waited for, and what it found is read. See trial_process.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from services.local import scratch_process
from services.local.run_folder import RunPlan
from services.local.trial_items import chosen_numbers
from services.run_details import Trial
from services.storage.serialization import from_builtins, to_builtins

STOPPED = "The trial was stopped."


def try_items(home: Path, plan: RunPlan, items: int, choice: str | Sequence[int], seconds: float, stopped: Callable[[], bool]) -> Trial:
    """See `services.workspace.Workspace.try_items`. Raises StudioError."""
    numbers = chosen_numbers(choice, items, sum(dataset.item_count for dataset in plan.datasets))
    request = {"plan": to_builtins(plan), "numbers": numbers, "seconds": seconds}
    answer = scratch_process.answer_of(
        home, "services.local.trial_process", request, stopped=stopped, what_failed="The items could not be tried"
    )  # fmt: skip
    return Trial(error=STOPPED) if answer is None else from_builtins(answer, Trial)
