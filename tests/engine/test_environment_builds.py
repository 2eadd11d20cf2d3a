"""Environments made from a list: by uv and by pip, from wheels that the tests make; canceled, killed, refused, two at once, deleted."""

import contextlib
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from io import BytesIO
from pathlib import Path

import pytest

from services.domain import BuildStatus, Environment, ResourceKind, RunRequest
from services.errors import NotFound, SettingsError, StudioError, WorkspaceUnavailable
from services.intake.requirement_lists import from_packages
from services.local import environment_builds, installers, interpreters
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings
from tests.tiny_wheels import take_packages_from, wheel

UV = installers.find_uv()
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals, and a folder that can't be written")


def source(folder, name, setup):
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as archive:
        for path, text in {"PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "setup.py": setup}.items():
            member = tarfile.TarInfo(f"{name}-1.0/{path}")
            member.size = len(text)
            archive.addfile(member, BytesIO(text.encode()))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    wheel(folder, "tiny_one", "1.0", "tiny-two<2")
    for version in ("1.0", "2.0"):
        wheel(folder, "tiny_two", version)
    source(folder, "only_source", f"open({str(folder / 'was-run')!r}, 'w')")
    wheel(folder, "skops", "99.0", content="raise ImportError('skops wants something newer')\n")
    return folder


@pytest.fixture(autouse=True)
def from_folder(wheels, monkeypatch):
    """Packages come from a folder: no test here asks an index."""
    take_packages_from(wheels, monkeypatch)


@pytest.fixture(params=["uv", "pip"])
def by(request, monkeypatch):
    """Which installer makes it. Without uv on PATH the program looks in two places of its own."""
    if request.param == "uv" and not UV:
        pytest.skip("uv is not here")
    if request.param == "pip":
        without(monkeypatch)
    return request.param


def without(monkeypatch):
    folders = [folder for folder in os.environ["PATH"].split(os.pathsep) if not (Path(folder) / "uv").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join(folders))


@pytest.fixture
def slow_uv(tmp_path, monkeypatch):
    """A uv that says where it is, starts a process of its own and never ends."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "uv"
    program.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'uv 0.9.0' && exit\nmkdir venv; echo resolving; sleep 600 & sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def create(workspace, *packages, name="made", **given):
    requirements = from_packages(packages)
    return workspace.create_environment(name, requirements, **{"approved": requirements.sha256, "python": sys.executable} | given)


def start(workspace, *packages, name="made"):
    requirements = from_packages(packages)
    return workspace.builds.start(name, requirements, approved=requirements.sha256, python=sys.executable)


def left(workspace):
    """What is in the folder of environments, but for the lock and what ended builds say of themselves."""
    folder = workspace.home / "environments"
    if not folder.exists():
        return []
    known = {"request.json", "outcome.json", "lock", "pid", "build.log", "progress.txt", "requirements.txt"}
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name not in known]


def wait_until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_list_becomes_a_registered_environment(workspace, by):
    said = []
    made = create(workspace, "tiny-one", progress=said.append)
    assert made == workspace.environments()[0]
    assert (made.reference, made.requirements) == ("made:1", ("tiny-one",))
    assert {"tiny_one": "1.0", "tiny_two": "1.0"}.items() <= {n.replace("-", "_"): v for n, v in made.packages.items()}.items()
    assert made.interpreter.startswith(str(workspace.home / "environments" / "made" / "1"))
    assert made.size > 1000
    source = "import tiny_one, sys; print(tiny_one.__file__)"
    place = subprocess.run([made.interpreter, "-c", source], capture_output=True, text=True, check=True).stdout
    assert place.startswith(str(workspace.home / "environments" / "made" / "1"))
    assert f"by {by}" in said[0]
    assert any("2 packages, " in line and "to download" in line for line in said)
    assert workspace.builds.all() == []
    assert create(workspace, "tiny-two").reference == "made:2"


def test_versions_that_exclude_each_other_are_said_cause_first(workspace, by):
    with pytest.raises(SettingsError) as error:
        create(workspace, "tiny-one", "tiny-two==2.0")
    assert error.value.field == "requirements"
    assert error.value.message.startswith("these versions exclude each other: ")
    assert "tiny-two<2" in error.value.message
    assert "the list asks for tiny-two==2.0" in error.value.message
    assert (workspace.environments(), left(workspace)) == ([], [])


def test_a_package_that_is_only_source_is_refused_and_not_run(workspace, by, wheels):
    with pytest.raises(SettingsError) as error:
        create(workspace, "only-source")
    assert "only-source" in error.value.message
    assert "would run its code" in error.value.message
    assert "--allow-build only-source" in error.value.hint
    assert not (wheels / "was-run").exists()
    assert (workspace.environments(), left(workspace)) == ([], [])


def test_a_package_that_is_not_there_is_named(workspace, by):
    with pytest.raises(SettingsError, match="no package no-such-thing"):
        create(workspace, "no-such-thing")
    with pytest.raises(SettingsError, match=r"no version 7 of tiny-two|no wheel of tiny-two==7"):
        create(workspace, "tiny-two==7")


def test_what_does_not_import_is_no_environment(workspace):
    with pytest.raises(StudioError, match="does not work together: ImportError: skops wants something newer"):
        create(workspace, "skops==99.0")
    assert (workspace.environments(), left(workspace)) == ([], [])


def test_a_list_is_fetched_only_once_approved(workspace):
    requirements = from_packages(["tiny-one"])
    with pytest.raises(SettingsError, match=f"not approved yet; its SHA-256 is {requirements.sha256}") as error:
        workspace.create_environment("made", requirements)
    assert error.value.field == "approved"
    with pytest.raises(SettingsError):
        workspace.create_environment("made", requirements, approved=from_packages(["tiny-two"]).sha256)
    assert workspace.builds.all() == []
    workspace.approve(requirements.sha256)
    with pytest.raises(SettingsError):
        workspace.create_environment("made", requirements.building(["tiny-one"]))  # that is another list
    assert workspace.create_environment("made", requirements).reference == "made:1"


@pytest.mark.parametrize("name", ["../up", "a/b", "", "con", ".builds", "a\nb", "=cmd", "x" * 300, "a:1"])
def test_a_name_that_is_no_name_is_refused(workspace, name):
    with pytest.raises(SettingsError) as error:
        create(workspace, "tiny-one", name=name)
    assert error.value.field == "name"
    assert left(workspace) == []


def test_a_name_in_another_case_is_refused_before_anything_is_fetched(workspace):
    workspace.register_environment("Made", sys.executable)
    with pytest.raises(SettingsError, match="differ in case only"):
        create(workspace, "tiny-one", name="made")
    assert workspace.builds.all() == []


def test_a_python_that_is_not_here_is_refused_with_those_that_are(workspace, tmp_path):
    with pytest.raises(SettingsError, match=r"Python 3\.7 is not on this machine") as error:
        create(workspace, "tiny-one", python="3.7")
    assert error.value.field == "python"
    assert "{}.{}.{}".format(*sys.version_info) in error.value.hint
    for python in (str(tmp_path / "none"), "/bin/true", "nonsense; rm -rf"):
        with pytest.raises(SettingsError) as error:
            create(workspace, "tiny-one", python=python)
        assert error.value.field == "python"


def test_a_list_that_asks_for_a_python_gets_a_patch_release_of_it(workspace):
    own = "{}.{}".format(*sys.version_info)
    requirements = environment_builds.RequirementList(("tiny-one",), f"{own}.99", python_required=True)
    assert interpreters.choose(None, requirements)[0].version.startswith(own)
    missing = environment_builds.RequirementList(("tiny-one",), "3.99", python_required=True)
    with pytest.raises(SettingsError, match=r"Python 3\.99, which the list asks for, is not on this machine"):
        interpreters.choose(None, missing)


@POSIX
def test_a_canceled_build_leaves_nothing(workspace, slow_uv):
    build = start(workspace, "tiny-one")
    wait_until(lambda: "resolving" in workspace.builds.get(build.id).progress)
    workspace.builds.cancel(build.id)
    assert workspace.builds.get(build.id).status is BuildStatus.CANCELED
    assert (workspace.environments(), left(workspace)) == ([], [])
    wait_until(lambda: not running(workspace))
    workspace.builds.cancel(build.id)  # again: nothing happens
    workspace.builds.dismiss(build.id)
    assert workspace.builds.all() == []
    with pytest.raises(NotFound):
        workspace.builds.get(build.id)


@POSIX
def test_a_killed_build_says_so_and_its_installer_ends_too(workspace, slow_uv):
    build = start(workspace, "tiny-one")
    wait_until(lambda: "resolving" in workspace.builds.get(build.id).progress)
    folder = environment_builds.BuildFolder(workspace.home, build.id)
    os.kill(int(folder.pid_file.read_text()), signal.SIGKILL)
    wait_until(lambda: not folder.is_at_work())
    failed = workspace.builds.get(build.id)
    assert failed.status is BuildStatus.FAILED
    assert failed.error.startswith("The process that built it is gone: ")
    assert (workspace.environments(), left(workspace)) == ([], [])
    wait_until(lambda: not running(workspace))


def running(workspace):
    """Command lines of processes that name this home's builds."""
    place = os.fsencode(workspace.home / "environments" / ".builds")
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [text] if place in (text := command.read_bytes()) else []
    return found


def test_a_build_killed_between_its_last_steps_is_no_environment(workspace):
    """It was moved into place and its outcome written, but the registry has it not."""
    create(workspace, "tiny-one")
    requirements = from_packages(["tiny-one"])
    build = workspace.builds.start("made", requirements, python=sys.executable)
    wait_until(lambda: workspace.builds.get(build.id).status is BuildStatus.READY)
    workspace._store._execute("DELETE FROM environments WHERE version = 2")
    found = workspace.builds.get(build.id)
    assert (found.status, found.environment) == (BuildStatus.FAILED, "")
    assert not (workspace.home / "environments" / "made" / "2").exists()
    assert create(workspace, "tiny-one").reference == "made:2"


@POSIX
def test_the_same_list_twice_at_once_is_one_build(workspace, slow_uv):
    builds = []
    threads = [threading.Thread(target=lambda: builds.append(start(LocalWorkspace(workspace.home), "tiny-one"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({build.id for build in builds}) == 1
    other = start(workspace, "tiny-two")
    assert len(workspace.builds.all()) == 2
    for build in (builds[0], other):
        workspace.builds.cancel(build.id)


def test_two_lists_of_one_name_at_once_are_two_versions(workspace):
    builds = [start(workspace, package) for package in ("tiny-one", "tiny-two")]
    made = {workspace.builds.wait(build).reference for build in builds}
    assert made == {"made:1", "made:2"}
    assert {e.requirements for e in workspace.environments()} == {("tiny-one",), ("tiny-two",)}


@POSIX
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_can_not_be_written_is_said(workspace):
    (workspace.home / "environments").mkdir(mode=0o500)
    with pytest.raises(WorkspaceUnavailable, match="can't be written"):
        create(workspace, "tiny-one")


def test_a_file_in_place_of_the_folder_is_said(workspace):
    (workspace.home / "environments").write_text("")
    with pytest.raises(WorkspaceUnavailable, match=r"The folder of environments, .*, can't be written"):
        create(workspace, "tiny-one")


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("error: failed to write\n  cause: No space left on device (os error 28)", WorkspaceUnavailable, "The disk is full"),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            WorkspaceUnavailable,
            "The disk is full",
        ),
        (
            "error: Failed to fetch: `https://pypi.org/simple/a/`\n  cause: dns error",
            WorkspaceUnavailable,
            r"can't be reached \(pypi.org\)",
        ),
        ("WARNING: Retrying: Failed to establish a new connection: /simple/a/", WorkspaceUnavailable, "can't be reached"),
        (
            "Because scipy==1.0 has no usable wheels and you require scipy==1.0, we can",
            SettingsError,
            "no wheel of scipy 1.0 for Python 3.9",
        ),
        (
            "Because the current Python version (3.9) does not satisfy Python>=3.11 and a==2 depends on Python>=3.11",
            installers.NoWheel,
            "3.11",
        ),
        (
            "  × No solution found:\n  ╰─▶ Because a==1 depends on b<2\n      and you require b>=2.",
            SettingsError,
            "a==1 depends on b<2 and the list",
        ),
        ("ERROR: something else", StudioError, "The installer failed: ERROR: something else"),
        ("", StudioError, "it said nothing"),
    ],
)
def test_what_an_installer_says_is_said_cause_first(text, kind, message):
    with pytest.raises(kind, match=message):
        installers._refuse(text, environment_builds.Interpreter("python", "3.9.1"))


@POSIX
def test_a_large_download_is_asked_for(workspace, tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    lock = tmp_path / "pylock.toml"
    entries = [("torch", 900_000_000), ("numpy", 20_000_000)]
    lock.write_text(
        "".join(f'[[packages]]\nname = "{n}"\nversion = "1"\nwheels = [{{url = "https://x/{n}.whl", size = {s}}}]\n' for n, s in entries)
    )
    script = f"""#!/bin/sh
        [ "$1" = --version ] && echo "uv 0.9.0" && exit
        [ "$2" = compile ] && cp {lock} pylock.toml && exit
        echo fetched; exit 1
    """
    (folder / "uv").write_text(script)
    (folder / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    with pytest.raises(SettingsError, match=r"920\.0 MB would be downloaded: torch 900\.0 MB, numpy 20\.0 MB") as error:
        create(workspace, "torch")
    assert error.value.field == "allow_large"
    with pytest.raises(StudioError, match="The installer failed: fetched"):
        create(workspace, "torch", allow_large=True)


def test_deleting_removes_the_files_and_never_gives_the_number_again(workspace):
    made = create(workspace, "tiny-one")
    workspace.resources.delete(ResourceKind.ENVIRONMENT, [made.reference])
    assert (workspace.environments(), left(workspace)) == ([], [])
    with pytest.raises(NotFound):
        workspace.resources.delete(ResourceKind.ENVIRONMENT, ["made:1"])
    assert create(workspace, "tiny-one").reference == "made:2"
    there = workspace.register_environment("there", sys.executable)
    workspace.resources.delete(ResourceKind.ENVIRONMENT, ["there"])
    assert Path(there.interpreter).exists()


def test_an_environment_that_a_run_needs_is_not_deleted(workspace, csv_folder, entry_script, finish):
    workspace.register_environment("made", sys.executable)
    workspace.register_dataset("d", csv_folder(1))
    script = entry_script("import time\ndef run(mini_batch):\n    time.sleep(300)\n    return mini_batch")
    request = RunRequest((), ("d",), str(script), ParallelRunSettings(process_count_per_node=1), environment="made")
    run = workspace.submit(request)
    with pytest.raises(SettingsError, match=f"needed by run {run.id}"):
        workspace.resources.delete(ResourceKind.ENVIRONMENT, ["made"])
    workspace.runs.cancel(run.id)
    finish(workspace, run.id)
    workspace.resources.delete(ResourceKind.ENVIRONMENT, ["made"])
    assert workspace.environments() == []
    assert isinstance(workspace.runs.environment(run.id), Environment)


def test_only_what_would_install_elsewhere_is_kept_from_the_installer(monkeypatch):
    for name in ("PIP_TARGET", "PIP_REQUIREMENT", "UV_SYSTEM_PYTHON", "UV_PYTHON_DOWNLOADS", "VIRTUAL_ENV", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("UV_INDEX_OURS_PASSWORD", "p")
    environment = installers._environment()
    assert environment["PIP_NO_INDEX"] == "1"
    assert environment["UV_INDEX_OURS_PASSWORD"] == "p"
    assert not {"PIP_TARGET", "PIP_REQUIREMENT", "UV_SYSTEM_PYTHON", "UV_PYTHON_DOWNLOADS", "VIRTUAL_ENV", "AZURE_CLIENT_SECRET"} & {
        *environment
    }
