"""Every failed item has its cause: what the script said about it while its mini-batch ran, whatever it did to its streams and loggers."""

import pytest

from tests.failing_scripts import FILES, PRINTS_PROGRESS


def causes(workspace, run):
    return {failed.item: failed.cause for failed in workspace.runs.failed_items(run.id)}


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
