"""Runs of a script over a folder of CSV files; a module may have its own in their place."""

import itertools
from textwrap import dedent

import pytest

from services.domain import RunRequest
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings
from tests.conftest import home_in


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory):
    """A home for runs that several tests of a module read, and for datasets that are registered once for all of them."""
    with home_in(tmp_path_factory.mktemp("shared")) as folder:
        yield folder


@pytest.fixture(scope="module")
def shared(shared_home):
    """The local workspace in `shared_home`."""
    return LocalWorkspace(shared_home)


@pytest.fixture(scope="module")
def shared_script(tmp_path_factory):
    """`shared_script(source)` writes a scoring script into a folder of its own, to stay as long as `shared_home`."""
    folder, numbers = tmp_path_factory.mktemp("scripts"), itertools.count()

    def write(source):
        path = folder / str(next(numbers)) / "script.py"
        path.parent.mkdir()
        path.write_text(dedent(source), encoding="utf-8")
        return path

    return write


@pytest.fixture
def submit(workspace, csv_folder, entry_script):
    """Submit a run of a script, given as source, over `files` CSV files; settings by their names. One worker unless said."""

    def submit(source, files=20, *, name="script.py", models=(), arguments=(), source_directory=None, **settings):
        if not workspace.datasets():
            workspace.register_dataset("d", csv_folder(files))
        values = {"process_count_per_node": 1, "mini_batch_size": 5, "error_threshold": -1} | settings
        request = RunRequest(
            tuple(models), ("d",), str(entry_script(source, name)), ParallelRunSettings(**values), arguments=arguments,
            source_directory=source_directory,
        )  # fmt: skip
        return workspace.submit(request)

    return submit


@pytest.fixture
def score(workspace, submit, finish):
    """As `submit`, but wait for the end."""
    return lambda *args, **kwargs: finish(workspace, submit(*args, **kwargs).id)
