"""A process that executes something for whoever waits for it, in a folder that is removed afterwards. Nothing of it is kept.

Workers end with the thread that started them, and a page's ends with its rerun: so the work is done by `python -m MODULE HOME FOLDER`. It
ends, with all that it started, when its standard input does, which is when the process that asked for it is gone too.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from services import PROJECT_ROOT, PYTHON, errors, log
from services.errors import StudioError
from services.intake.staging import staging_folder
from services.storage.atomic import write_atomically
from services.storage.file_tree import last_line
from services.storage.usage import lock_of_staging

logger = logging.getLogger(__name__)

_REQUEST, _ANSWER, _TOLD = "request.json", "answer.json", "told.jsonl"
_POLL_SECONDS = 0.05
_END_SECONDS = 5.0


# ---- where it is waited for --------------------------------------------------------------------------------------------------------------


def answer_of(
    home: Path,
    module: str,
    request: Mapping[str, Any],
    *,
    stopped: Callable[[], bool],
    what_failed: str,
    told: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Any:
    """What the process answers, None where it was `stopped` before. `told` gets what it tells meanwhile. Raises StudioError: its own, or
    one that begins with `what_failed`."""
    with staging_folder(home) as folder:
        (folder / _REQUEST).write_text(json.dumps(request), "ascii")
        command = [*PYTHON, "-m", module, str(home), str(folder)]
        with open(folder / "errors.txt", "wb") as words:
            child = subprocess.Popen(
                command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=words, start_new_session=True
            )
        so_far = 0
        try:
            while not _has_ended(child, _POLL_SECONDS):
                if stopped():
                    return None
                so_far = _tell(folder / _TOLD, so_far, told)
        finally:
            _end(child)
        _tell(folder / _TOLD, so_far, told)
        if not (folder / _ANSWER).is_file():
            message = last_line(folder / "errors.txt") or f"its process ended with code {child.returncode}"
            logger.error("%s:\n%s", what_failed, (folder / "errors.txt").read_text("utf-8", "replace")[-10_000:])
            raise StudioError(f"{what_failed}: {message}", "This machine may be short of memory or disk space.")
        answer = json.loads((folder / _ANSWER).read_bytes())
    if "error" in answer:
        raise _raised(answer["error"])
    return answer["answer"]


def _tell(path: Path, so_far: int, told: Callable[[dict[str, Any]], None]) -> int:
    with suppress(FileNotFoundError), open(path, "rb") as lines:
        lines.seek(so_far)
        for line in lines:
            if not line.endswith(b"\n"):
                break
            so_far += len(line)
            told(json.loads(line))
    return so_far


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


# ---- the process itself ------------------------------------------------------------------------------------------------------------------


class Stopped(Exception):
    """Nobody waits for the answer any more."""


nobody_waits = threading.Event()


def _wait_for_the_end_of_input() -> None:
    while sys.stdin.buffer.read(1):
        pass
    nobody_waits.set()


def tell(folder: Path, value: Mapping[str, Any]) -> None:
    """Let whoever waits know something before the answer."""
    with open(folder / _TOLD, "ab") as lines:
        lines.write(json.dumps(value).encode("ascii") + b"\n")


def main(work: Callable[[Path, Path, dict[str, Any]], Any]) -> int:
    """The process: `work` gets the home, the folder and the request; its answer is JSON. It may raise Stopped and StudioError."""
    home, folder = Path(sys.argv[1]), Path(sys.argv[2])
    log.to_stderr()
    threading.Thread(target=_wait_for_the_end_of_input, daemon=True).start()
    answer: dict[str, Any]
    try:
        answer = {"answer": work(home, folder, json.loads((folder / _REQUEST).read_bytes()))}
    except Stopped:
        shutil.rmtree(folder, ignore_errors=True)  # whoever started it may be gone
        with suppress(OSError):
            lock_of_staging(folder).unlink()
        return 1
    except StudioError as error:
        answer = {"error": {"type": type(error).__name__, **vars(error)}}
    write_atomically(folder / _ANSWER, json.dumps(answer))
    return 0
