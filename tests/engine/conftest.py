"""Runs of a script over a folder of CSV files; a module may have its own in their place."""

import pytest

from services.domain import RunRequest
from services.settings import ParallelRunSettings


@pytest.fixture
def submit(workspace, csv_folder, entry_script):
    """Submit a run of a script, given as source, over `files` CSV files; settings by their names. Two workers unless said."""

    def submit(source, files=20, *, name="script.py", models=(), arguments=(), source_directory=None, **settings):
        if not workspace.datasets():
            workspace.register_dataset("d", csv_folder(files))
        values = {"process_count_per_node": 2, "mini_batch_size": 5, "error_threshold": -1} | settings
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
