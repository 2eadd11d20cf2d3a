"""Every failed item has its cause: what the script said about it while its mini-batch ran, whatever it did to its streams and loggers."""

import pytest

from services.predictions.filters import EVERY_FAILURE
from tests.failing_scripts import FAILING_SCRIPTS, FILES, PRINTS_PROGRESS


def causes(workspace, run):
    return {failed.item: failed.cause for failed in workspace.runs.failed_items(run.id)}


@pytest.mark.parametrize("script", FAILING_SCRIPTS.values(), ids=FAILING_SCRIPTS)
def test_a_failed_item_has_what_the_script_said_of_it(workspace, score, script):
    run = score(script.source, FILES, mini_batch_size=2)
    assert causes(workspace, run) == script.causes
    (group,) = workspace.runs.failure_causes(run.id)
    assert (group.template, group.count, group.share, group.example) == (script.template, 2, 1.0, "0003.csv")
    rows = workspace.runs.predictions(run.id).page(EVERY_FAILURE).to_pylist()
    assert [(row["File"], row["Error"], row["Cause"]) for row in rows] == [(*item, script.template) for item in script.causes.items()]


def test_progress_said_in_other_mini_batches_is_no_cause(workspace, score):
    run = score(PRINTS_PROGRESS.source, FILES, mini_batch_size=1)
    assert causes(workspace, run) == PRINTS_PROGRESS.causes


SAYS = """
    import logging, os, subprocess, sys, io, warnings
    log = logging.getLogger("mine")
    def say(name):
        {say}
    def run(mini_batch):
        names = [os.path.basename(path) for path in mini_batch]
        if "0001.csv" in names: say("0001.csv")
        return [f"{{name}}: ok" for name in names if name != "0001.csv"]
"""


@pytest.mark.parametrize(
    "say",
    [
        "print(name, 'is bad', file=sys.stderr)",
        "sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8'); print(name, 'is bad')",
        "print(name, 'is bad', end='')",
        "os.write(2, f'{name} is bad\\n'.encode())",
        "subprocess.run([sys.executable, '-c', f'print({name!r}, \"is bad\")'])",
        "logging.getLogger().handlers.clear(); log.warning('%s is bad', name)",
        "log.propagate = False; log.addHandler(logging.FileHandler('own.log')); log.info('%s is bad', name)",
        "logging.basicConfig(force=True, format='%(message)s', stream=sys.stdout); log.error('%s is bad', name)",
        "from azureml_user.parallel_run import EntryScript; EntryScript().logger.info('%s is bad', name)",
        "print(name, 'is bad'); print('x\\n' * 5_000_000)",
    ],
)
def test_a_script_may_say_it_in_any_way(workspace, score, say):
    run = score(SAYS.format(say=say), 2, process_count_per_node=1)
    assert causes(workspace, run) == {"0001.csv": "0001.csv is bad"}
