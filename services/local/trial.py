"""*Try first*: starts the process that scores a few items of a run, waits for it, and reads what it found. Nothing is kept.

The work is done by `python -m services.local.trial_process HOME FOLDER`: workers end with the thread that started them, and a page's ends
with its rerun. It ends when its standard input does, which is when this process is gone too.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from services import PROJECT_ROOT, errors
from services.domain import Trial
from services.errors import StudioError
from services.intake.staging import staging_folder
from services.local.run_folder import RunPlan
from services.local.trial_items import ANSWER, REQUEST, chosen_numbers
from services.storage.file_tree import last_line
from services.storage.serialization import from_builtins, to_builtins

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
_END_SECONDS = 5.0
STOPPED = "The trial was stopped."


def try_items(home: Path, plan: RunPlan, items: int, choice: str | Sequence[int], seconds: float, stopped: Callable[[], bool]) -> Trial:
    """See `services.workspace.Workspace.try_items`. Raises StudioError."""
    numbers = chosen_numbers(choice, items, sum(dataset.item_count for dataset in plan.datasets))
    with staging_folder(home) as folder:
        request = {"plan": to_builtins(plan), "numbers": numbers, "seconds": seconds}
        (folder / REQUEST).write_text(json.dumps(request), "ascii")
        command = [sys.executable, "-m", "services.local.trial_process", str(home), str(folder)]
        with open(folder / "errors.txt", "wb") as words:
            child = subprocess.Popen(
                command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=words, start_new_session=True
            )
        try:
            while not _has_ended(child, _POLL_SECONDS):
                if stopped():
                    return Trial(error=STOPPED)
        finally:
            _end(child)
        if not (folder / ANSWER).is_file():
            message = last_line(folder / "errors.txt") or f"its process ended with code {child.returncode}"
            logger.error("A trial failed:\n%s", (folder / "errors.txt").read_text("utf-8", "replace")[-10_000:])
            raise StudioError(f"The items could not be tried: {message}", "This machine may be short of memory or disk space.")
        answer = json.loads((folder / ANSWER).read_bytes())
    if "error" in answer:
        raise _raised(answer["error"])
    return from_builtins(answer["trial"], Trial)


def _has_ended(child: subprocess.Popen[bytes], seconds: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        child.wait(seconds)
        return True
    return False


def _end(child: subprocess.Popen[bytes]) -> None:
    """Let it end its worker, by the end of its input; then by force."""
    if child.stdin:
        child.stdin.close()
    if not _has_ended(child, _END_SECONDS):
        if os.name == "posix":
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        child.kill()
        child.wait()


def _raised(values: dict[str, str]) -> StudioError:
    """The error of the process, made again."""
    kind: Callable[..., StudioError] = getattr(errors, values.pop("type"), StudioError)
    return kind(**values)
