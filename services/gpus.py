"""The GPUs of this machine that a run may use, and which of them a worker gets."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

from services import environment_variables

_DEVICES = Path("/dev")


def visible(devices: Path = _DEVICES) -> tuple[str, ...]:
    """What CUDA would see, as `CUDA_VISIBLE_DEVICES` spells it: that variable where it is set (its list ends at the first -1), else
    NVIDIA's device files. One look into a folder, since starting CUDA or nvidia-smi takes seconds; there are none on Windows or in WSL."""
    chosen = environment_variables.value_if_set("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(takewhile(lambda index: index and not index.startswith("-"), map(str.strip, chosen.split(","))))
    try:
        numbers = [int(match[1]) for path in devices.iterdir() if (match := re.fullmatch(r"nvidia(\d+)", path.name))]
    except OSError:
        return ()
    return tuple(map(str, sorted(numbers)))


def of_worker(number: int, gpus: tuple[str, ...]) -> dict[str, str]:
    """The environment variable that gives the `number`-th worker of a run one GPU of its own, and none where all are given away. Empty on
    a machine without GPUs."""
    return {"CUDA_VISIBLE_DEVICES": gpus[number] if number < len(gpus) else ""} if gpus else {}
