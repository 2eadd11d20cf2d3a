"""A model loaded and described in a process of an environment: never in this one, in a session of its own, within limits of time, memory
and what it may say."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.domain import Environment, Model, ModelCard
from services.errors import IntakeError, os_errors_as
from services.file_names import short
from services.intake.entry_scripts import BUILT_IN
from services.local.environments import check_is_there
from services.local.worker_process import memory_limit, sanitized_environment
from services.scoring.model_card import with_inspection
from services.storage.file_tree import last_line, sha256_of

INSPECTED_WITHIN = 120.0  # seconds: importing TensorFlow for the first time takes some twenty
_LONGEST_ANSWER = 32_000_000  # bytes: 100,000 columns, with room
_LARGEST_OUTPUT = 50_000_000  # bytes of what it prints
_ENDED_ITSELF = "The model or its framework ends Python as it is loaded: choose another environment, or save the model again."
_INSPECTOR = Path(__file__).with_name("model_inspector.py")


_FRAMEWORKS = (
    "scikit-learn", "numpy", "pandas", "joblib", "skops", "onnxruntime", "onnxruntime-gpu", "xgboost", "xgboost-cpu", "lightgbm",
    "catboost", "mlflow", "mlflow-skinny", "keras", "tensorflow", "tensorflow-cpu", "torch",
)  # fmt: skip


def source(environment: Environment) -> str:
    """What a card that was made in this environment is kept under: with other versions there, it is made again."""
    versions = [f"{name} {environment.packages[name]}" for name in _FRAMEWORKS if name in environment.packages]
    return f"{environment.reference}; Python {environment.python_version}; {', '.join(versions)}"


def inspect(model: Model, card: ModelCard, environment: Environment) -> ModelCard:
    """The card of the model's file, with what the model says of itself once the environment's interpreter has loaded it. Where a package
    is not installed there, the card says so and is not `inspected_in` it. Raises IntakeError with the cause where it can't be loaded for
    another reason; NotFound where the interpreter is gone."""
    check_is_there(environment.interpreter)
    if sha256_of(Path(model.path)) != model.sha256:
        text = f"Model {model} is not what was registered: its SHA-256 is no longer {model.sha256}."
        raise IntakeError(text, "Register the model again, look at it, and approve it.")
    in_ = environment.describe()
    where = f"model {model} could not be loaded in {in_}"
    with tempfile.TemporaryDirectory(prefix="inspect-", ignore_cleanup_errors=True) as folder:
        answer_file, log = Path(folder, "answer.json"), Path(folder, "stderr")
        code = _run(environment.interpreter, model.path, answer_file, log)
        if code is None:
            text = f"Loading it took longer than {INSPECTED_WITHIN:g} seconds: {where}."
            raise IntakeError(text, "Check that loading it waits for nothing, as for a network; or save it again as a plain model.")
        answer = _answer(answer_file)
        last_words = last_line(log)
    if isinstance(described := answer.get("card"), dict):
        return with_inspection(card, described, environment)
    if missing := answer.get("missing"):
        package = short(str(missing))
        told = any(package in _words(line) for line in card.requirements)
        warning = f"Needs the module {package}, which {in_} does not have"
        return card if told else replace(card, warnings=(warning, *card.warnings))
    if message := answer.get("message"):
        raise IntakeError(f"{_one_line(str(message))}: {where}.", "Choose an environment with the versions it was made with.")
    how = f"was ended by signal {_signal_name(-code)}" if code < 0 else f"ended with code {code} before it could answer"
    hint = "Try again: the system ends processes where memory is short." if how.endswith("SIGKILL") else _ENDED_ITSELF
    raise IntakeError(f"Its process {how}{': ' + last_words if last_words else ''}: {where}.", hint)


def _words(requirement: str) -> set[str]:
    """How the module of a package may be called."""
    name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()
    return {name, name.replace("-", "_"), name.removesuffix("-cpu"), *(("sklearn",) if name == "scikit-learn" else ())}


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 500 else f"{line[:400]}…{line[-90:]}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _answer(path: Path) -> dict[str, Any]:
    """What stands in the answer file; nothing where it is none: the model may have written there."""
    with suppress(OSError, ValueError, RecursionError):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= _LONGEST_ANSWER:
            answer = json.loads(path.read_bytes())
            return answer if isinstance(answer, dict) else {}
    return {}


def _run(interpreter: str, model: str, answer_file: Path, log: Path) -> int | None:
    """The exit code of the inspector; None where it was ended by the clock. Whatever it started in its session ends with it."""
    command = [interpreter, str(_INSPECTOR), str(BUILT_IN), model, str(answer_file), str(memory_limit(1) or 0)]
    environment = sanitized_environment() | {"PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with os_errors_as(IntakeError, f"{interpreter} does not run"), open(log, "wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=log.parent, env=environment, start_new_session=True
        )
    left = INSPECTED_WITHIN
    try:
        while left > 0:
            try:
                return process.wait(min(0.5, left))
            except subprocess.TimeoutExpired:
                left -= 0.5
                if log.stat().st_size > _LARGEST_OUTPUT:
                    os.truncate(log, 1_000_000)  # it prints without end
        return None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()
