"""The two commands: the lock, `make setup`, and what the launcher takes."""

import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import launcher
from hatch_build import EXTRAS, runtime_requirements
from services import __version__

ROOT = Path(__file__).parents[2]


def requirements(name: str) -> list[Requirement]:
    lines = (line.split(" #")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def set_up(folder: Path, path: str) -> subprocess.CompletedProcess[str]:
    """`make setup` in a folder of its own, with nothing else to be found than what is in `path`."""
    make = shutil.which("make")
    assert make is not None
    return subprocess.run([make, "setup"], cwd=folder, env={"PATH": path}, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What set-up reads, in a folder with a space in its name; `bin` has a shell's tools, but no Python and no uv."""
    folder = tmp_path / "a clone"
    (folder / "bin").mkdir(parents=True)
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    for tool in ("sh", "cmp", "cp", "rm"):
        (folder / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    return folder


def test_the_lock_covers_what_is_asked_for():
    pins = {(canonicalize_name(pin.name), str(pin.specifier).removeprefix("==")) for pin in requirements("requirements.txt")}
    lists = [path.name for path in ROOT.glob("requirements*.in")]
    assert len(lists) == 2 + len(EXTRAS)
    for asked in [pin for name in lists for pin in requirements(name)]:
        locked = [version for name, version in pins if name == canonicalize_name(asked.name)]
        assert locked, f"{asked} is not in the lock: make lock"
        assert all(asked.specifier.contains(version) for version in locked), f"{asked} is locked at {locked}: make lock"


def test_the_lock_pins_what_is_installed():
    here = [pin for pin in requirements("requirements.txt") if pin.marker is None or pin.marker.evaluate()]
    assert len({canonicalize_name(pin.name) for pin in here}) == len(here) > 100
    for pin in here:
        assert re.fullmatch(r"==[^,*]+", str(pin.specifier)), f"{pin} is no pin"
        assert pin.specifier.contains(importlib.metadata.version(pin.name)), f"{pin} is not what .venv has: make setup"


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_a_wheel_and_its_extras_require_what_the_program_needs_and_no_test_tool(extra: str):
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    pins = [Requirement(line) for wanted in {"", extra} for line in runtime_requirements(lock, wanted)]
    required = {canonicalize_name(pin.name) for pin in pins if pin.marker is None or pin.marker.evaluate()}
    # What the installed packages say that they require; the wheel goes by the lock's comments.
    seen: set[tuple[str, str]] = set()
    asked = requirements("requirements.in") + (requirements(f"requirements-{extra}.in") if extra else [])
    left = [(pin, "") for pin in asked]
    while left:
        pin, wanted = left.pop()
        if pin.marker is None or pin.marker.evaluate({"extra": wanted}):
            new = {(canonicalize_name(pin.name), each) for each in ("", *pin.extras)} - seen
            seen |= new
            left += [(Requirement(text), each) for name, each in new for text in importlib.metadata.requires(name) or []]
    needed = {name for name, _ in seen}
    assert required >= needed
    # The lock has one line for all who want a package: where some want it on one system only, or for an extra, everyone gets it.
    assert required - needed <= {"colorama", "pysocks"}
    assert required & {canonicalize_name(pin.name) for pin in requirements("requirements-dev.in")} == set()
    assert ("azureml-core" in required, "azure-ai-ml" in required) == (extra == "azure", extra == "azure-v2")


def test_set_up_is_silent_where_it_was_made_from_this_lock(clone: Path):
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").symlink_to(sys.executable)
    shutil.copy(clone / "requirements.txt", clone / ".venv" / "ready")
    done = set_up(clone, str(clone / "bin"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("ready", [None, "", "another lock"])
def test_set_up_starts_anew_on_a_half_made_or_outdated_venv(clone: Path, ready: str | None):
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").symlink_to(sys.executable)
    if ready is not None:
        (clone / ".venv" / "ready").write_text(ready)
    assert "needs Python 3.11 or 3.12, and there is none." in set_up(clone, str(clone / "bin")).stderr


def test_set_up_refuses_a_python_the_lock_is_not_made_for(clone: Path):
    too_new = clone / "bin" / "python3"
    too_new.write_text('#!/bin/sh\ncase "$2" in *sys.exit*) exit 1 ;; esac\necho " (python3 is 3.13)"\n')
    too_new.chmod(0o755)
    refused = set_up(clone, str(clone / "bin"))
    assert refused.returncode != 0
    assert "needs Python 3.11 or 3.12, and there is none (python3 is 3.13)." in refused.stderr
    assert "apt-get install" in refused.stderr
    assert not (clone / ".venv").exists()


def test_set_up_says_what_to_install_where_venv_is_missing(clone: Path):
    bare = clone / "bin" / "python3.11"
    bare.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\nexec "{sys.executable}" "$@"\n')
    bare.chmod(0o755)
    refused = set_up(clone, str(clone / "bin"))
    assert refused.returncode != 0
    assert "python3.11 has no module venv. On Debian: sudo apt-get install python3-venv" in refused.stderr
    assert not (clone / ".venv").exists()


def test_a_taken_port_gives_way_to_a_higher_one():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken = listening.getsockname()[1]
        chosen = launcher.free_port(taken)
        assert chosen > taken
    assert launcher.free_port(taken) == taken


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for a browser is a shell script")
@pytest.mark.parametrize(
    ("name", "announced", "argument"),
    [
        ("microsoft-edge", "", "--app=http://localhost:1/"),
        ("firefox", "An app window needs Chrome, Edge or Chromium", "http://localhost:1/"),
    ],
)
def test_app_opens_a_window_or_says_what_it_needs(tmp_path: Path, name: str, announced: str, argument: str):
    browser, called = tmp_path / name, tmp_path / "called"
    os.mkfifo(called)
    browser.write_text(f"#!/bin/sh\necho \"$@\" >'{called}'\n")
    browser.chmod(0o755)
    code = "import launcher; launcher.open_page('http://localhost:1/', in_a_window=True)"
    environment = {"PATH": str(tmp_path), "BROWSER": f"{browser} %s"}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as opening:
        assert called.read_text() == f"{argument}\n"
        out, _ = opening.communicate(timeout=240)
    assert (opening.returncode, out.startswith(announced), out == "") == (0, True, announced == "")


@pytest.mark.parametrize(("arguments", "code"), [(["--port", "70000"], 2), (["--port=x"], 2), (["rnu"], 2), (["--version"], 0)])
def test_the_launcher_takes_its_own_options_and_the_commands(arguments: list[str], code: int):
    command = [sys.executable, "-c", "import launcher, sys; sys.exit(launcher.main())", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout == ("" if code else f"batch-scoring-studio {__version__}\n")


def test_streamlits_settings_can_be_read_and_send_nothing():
    # Streamlit leaves out all of a file that it can't read, with a word in the terminal only.
    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert settings["browser"] == {"gatherUsageStats": False}
    assert settings["server"]["address"] == "127.0.0.1"
