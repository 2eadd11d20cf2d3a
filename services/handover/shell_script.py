"""A run as this program's command line: a shell script, every value quoted by shlex."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from services import INSTALLED, PROJECT_ROOT, __version__
from services.domain import Run
from services.errors import SettingsError
from services.handover.secrets import Disclosed, Hidden
from services.intake.entry_scripts import BUILT_IN
from services.settings import TABLE
from services.workspace import Workspace

_CONSOLE = "batch-scoring-studio"

_HEAD = """\
#!/bin/sh
# Submits a batch scoring run with the values of {run_id}, and waits for its end.
#
# Written by Batch Scoring Studio {version}. It takes further options of the command, and works in the home that BATCH_SCORING_HOME names,
# else in the one that the run is in.
set -eu

studio() {{
{studio}
}}
"""
_IN_A_CLONE = """\
    if [ -d {clone} ] && [ -x {python} ]; then
        PYTHONPATH={clone} {python} -m services "$@"
    else
        {console} "$@"
    fi"""


def script(workspace: Workspace, run: Run, disclosed: Disclosed) -> bytes:
    """The script, for any POSIX shell. It needs this program, and the models and datasets in the home. Raises SettingsError for a run with
    a text that no shell can pass on."""
    studio = f'    {_CONSOLE} "$@"'
    if not INSTALLED:
        clone, python = shlex.quote(str(PROJECT_ROOT)), shlex.quote(sys.executable)
        studio = _IN_A_CLONE.format(clone=clone, python=python, console=_CONSOLE)
    parts = [_HEAD.format(run_id=run.id, version=__version__, studio=studio)]
    home = shlex.quote(str(workspace.machine_home))
    parts.append(f'\nif [ -z "${{BATCH_SCORING_HOME:-}}" ]; then\n    BATCH_SCORING_HOME={home}\nfi\nexport BATCH_SCORING_HOME\n')
    for hidden in dict.fromkeys(disclosed.hidden):
        meaning = shlex.quote(f"Set the variable {hidden.variable}: it is {hidden.shown} of the run, and was left out of this file.")
        parts.append(f'\nif [ -z "${{{hidden.variable}+set}}" ]; then\n    echo {meaning} >&2\n    exit 2\nfi\n')
    script_path = Path(run.request.entry_script)
    if not run.request.failed_only and script_path.parent != BUILT_IN:
        quoted, gone = shlex.quote(str(script_path)), shlex.quote(f"There is no scoring script {script_path} on this machine.")
        parts.append(f"\nif [ ! -f {quoted} ]; then\n    echo {gone} >&2\n    exit 2\nfi\n")
    parts.append("\nstudio " + " \\\n    ".join([*_words(workspace, run, disclosed), '--wait "$@"']) + "\n")
    try:
        content = "".join(parts).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair of UTF-16, of a file name of Windows or an archive made by hand
        content = b"\0"
    if b"\0" in content:
        what = "the run has a text with NUL or half a character, which no shell can pass on"
        raise SettingsError("as", what, "Export it as another kind.")
    return content


def _words(workspace: Workspace, run: Run, disclosed: Disclosed) -> Iterator[str]:
    """Options with their values, each as the shell reads it."""
    request = run.request
    in_azure = ["--workspace", workspace.name] if workspace.remote else []
    if request.failed_only:
        yield " ".join([*in_azure, "rerun", shlex.quote(str(request.rerun_of)), "--failed-only"])
        return
    yield " ".join([*in_azure, "run"])
    yield from (_option("--model", reference) for reference in request.models)
    yield from (_option("--dataset", reference) for reference in request.datasets)
    built_in = Path(request.entry_script).parent == BUILT_IN
    yield _option("--entry-script", Path(request.entry_script).stem if built_in else request.entry_script)
    if request.source_directory:
        yield _option("--source-directory", request.source_directory)
    if request.environment:
        yield _option("--environment", request.environment)
    if request.compute_target:
        yield _option("--compute-target", request.compute_target)
    for name, reference in request.side_inputs.items():
        yield _option("--side-input", f"{name}={reference}")
    for argument in disclosed.arguments:
        yield _option("--argument", argument)
    if request.name:
        yield _option("--name", request.name)
    if request.new_only:
        yield "--new-only"
    yield "--allow-reuse " + ("on" if request.allow_reuse and (request.new_only or not request.rerun_of) else "off")
    values = request.settings.as_dict()
    for name in TABLE:
        if name == "environment_variables":
            yield from (_option("--environment-variable", value, f"{key}=") for key, value in disclosed.variables.items())
        elif name == "partition_keys":
            yield from (_option("--partition-keys", key) for key in values.get(name, ()))
        elif name in values:
            yield _option(f"--{name.replace('_', '-')}", str(values[name]))


def _option(flag: str, value: str | Hidden, before: str = "") -> str:
    """`--flag=value`: so that a value may begin with a dash."""
    if isinstance(value, Hidden):
        return f'{flag}={shlex.quote(before + value.before)}"${{{value.variable}}}"'
    return f"{flag}={shlex.quote(before + value)}"
