"""The slots of a home: as many as the limit says, freed by the system with their holder, and waited for without polling."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from services import PROJECT_ROOT
from services.local.run_slots import RunSlots

HOLD = """
import sys
from pathlib import Path
from services.local.run_slots import RunSlots
slot = RunSlots(Path(sys.argv[1])).acquire()
print(bool(slot), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def one_slot(monkeypatch):
    monkeypatch.setenv("BATCH_SCORING_RUNS_AT_ONCE", "1")


@pytest.fixture
def holder(tmp_path: Path):
    """A process that holds the one slot."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=PROJECT_ROOT, stdin=pipe, stdout=pipe)
    assert process.stdout
    assert process.stdout.readline() == b"True\n"
    yield process
    process.kill()
    process.communicate()


def test_there_are_as_many_slots_as_the_limit(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("BATCH_SCORING_RUNS_AT_ONCE", "2")
    slots = RunSlots(tmp_path)
    acquired = [slots.acquire() for _ in range(3)]
    assert [slot is not None for slot in acquired] == [True, True, False]


@pytest.mark.skipif(sys.platform == "win32", reason="no lock can be waited for there")
@pytest.mark.parametrize("end", ["kill", "communicate"])
def test_a_released_slot_ends_the_wait(holder, tmp_path: Path, end: str):
    slots = RunSlots(tmp_path)
    assert slots.acquire() is None
    slots.wait(0.01)
    getattr(holder, end)()
    began = time.monotonic()
    slots.wait(60)
    assert time.monotonic() - began < 30
    assert slots.acquire()


def test_the_wait_ends_at_its_timeout(holder, tmp_path: Path):
    slots = RunSlots(tmp_path)
    assert slots.acquire() is None
    for _ in range(2):
        slots.wait(0.05)
    assert slots.acquire() is None
