"""The way of a request to its runner: downwards only, and through few modules."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from types import FrameType
from typing import Any

from services.domain import RunRequest
from services.local.run_folder import RunFolder, RunPlan
from services.local.workspace import LocalWorkspace

ROOT = Path(__file__).parents[2]
CARRIES = (RunRequest, RunPlan, RunFolder)  # the request, what it was resolved to, and where that was written


def layers() -> dict[str, int]:
    """The rank of each part of `services`, the uppermost first, as import-linter enforces it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    names = next(contract["layers"] for contract in contracts if contract["name"].startswith("Layers"))
    return {part: rank for rank, layer in enumerate(names) for part in layer.strip("()").split(" | ")}


def calls_with_the_request(workspace: LocalWorkspace, request: RunRequest) -> list[tuple[str, str]]:
    """(caller, callee) of each call within `services` that is given the request on its way through `submit`."""
    calls: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        code, caller = frame.f_code, frame.f_back
        if event != "call" or caller is None or code.co_name.startswith("__"):
            return
        arguments = (frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
        modules = [of.f_globals.get("__name__", "") for of in (caller, frame)]
        if all(module.startswith("services.") for module in modules) and any(isinstance(value, CARRIES) for value in arguments):
            calls.append((modules[0].removeprefix("services."), modules[1].removeprefix("services.")))

    sys.setprofile(note)
    try:
        workspace.submit(request)
    finally:
        sys.setprofile(None)
    return calls


def test_a_request_never_turns_back_up_on_its_way_to_the_runner(workspace, csv_folder, entry_script):
    workspace.register_dataset("d", csv_folder(3))
    request = RunRequest(models=(), datasets=("d",), entry_script=str(entry_script("def run(mini_batch):\n    return []")))
    calls, rank = calls_with_the_request(workspace, request), layers()
    assert ("local.runs", "storage.run_process") in calls
    assert [call for call in calls if rank[call[0].split(".")[0]] > rank[call[1].split(".")[0]]] == []
    upper = {module for call in calls for module in call if module.split(".")[0] in ("local", "submission")}
    assert upper == {"local.workspace", "submission", "local.runs", "local.reuse"}
