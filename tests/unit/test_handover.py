"""What is handed over of a run: secrets left out, and every text from outside a literal."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from services.cli import scoring_commands
from services.cli.main import _parser
from services.domain import Run, RunRequest, RunStatus, utc_now
from services.errors import SettingsError
from services.handover import sdk_v1, shell_script
from services.handover.notebook import facts_of
from services.handover.secrets import LEFT_OUT, Hidden, disclose
from services.handover.sources import Sources
from services.settings import ParallelRunSettings

HOSTILE = """it's "\"\"\" `id` $(id) ${HOME} \\ \n=cmd|' /C calc'!A0 # %s {0} ; rm -rf / --"""


def request(*arguments: str, **settings: object) -> RunRequest:
    return RunRequest(("digits:1",), ("rows:2",), "/scripts/score.py", ParallelRunSettings(**settings), arguments=arguments)


def run_of(asked: RunRequest) -> Run:
    return Run("run-20260101-000000-abcdef", asked, RunStatus.COMPLETED, utc_now())


# ---- secrets ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("--api-key", "abc"),
        ("--token=abc",),
        ("--db_password", "abc"),
        ("--url", "https://a.blob.core.windows.net/c?sv=1&sig=abc"),
        ("--header", "eyJhbGciOiJIUzI1NiJ9.e30.x"),
        ("--url", "postgres://me:abc@host/db"),
        ("--value", "q7Zk93Lm0Pw4XcV81TnB26Rs"),
    ],
)
def test_an_argument_that_looks_like_a_secret_is_left_out(arguments):
    shown = disclose(request(*arguments))
    assert len(shown.hidden) == 1
    assert "abc" not in str(shown.request(request(*arguments)).arguments)
    assert LEFT_OUT in shown.request(request(*arguments)).arguments[-1]
    assert disclose(request(*arguments), with_secrets=True).arguments == arguments


@pytest.mark.parametrize(
    "arguments",
    [
        ("--max-token", "100"),
        ("--input", "Sepal_Length_Centimetres_2024_normalised"),
        ("--columns", "author"),
        ("--keep", "customer_identifier_number_12"),
        ("--path", "/data/2024/01/Some_Long_Folder/files"),
    ],
)
def test_an_ordinary_argument_is_kept(arguments):
    assert disclose(request(*arguments)).arguments == arguments


def test_values_of_environment_variables_are_left_out_and_their_names_kept():
    asked = request(environment_variables={"PASSWORD": "sesame", "odd name": "x", "PATH": "y"})
    shown = disclose(asked)
    assert [hidden.variable for hidden in shown.hidden] == ["PASSWORD", "ODD_NAME", "RUN_PATH"]
    assert "PASSWORD" in shown.notes()[0]
    assert shown.request(asked).settings.environment_variables == dict.fromkeys(("PASSWORD", "odd name", "PATH"), LEFT_OUT)


# ---- literals --------------------------------------------------------------------------------------------------------------------------


def assigned(source: str) -> dict[str, object]:
    """What the script's top level assigns, without executing it."""
    found: dict[str, object] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def test_hostile_values_are_literals_of_the_sdk_script(workspace):
    asked = replace(request("--text", HOSTILE, environment_variables={HOSTILE.replace("=", ""): HOSTILE}), name=HOSTILE)
    source = b'def run(mini_batch):\n    return [\'\xc3\xa9 \\n """\']\r\n\x0c\n'
    sources = Sources("a 'b'.py", {"a 'b'.py": source, "latin.py": b"# \xe9\n"})
    text = sdk_v1.script(run_of(asked), disclose(asked, with_secrets=True), sources, workspace.environment(None), "evil\n.py").decode()
    values = assigned(text)
    assert values["NAME"] == HOSTILE
    assert values["ARGUMENTS"] == ["--model-name", "digits", "--text", HOSTILE]
    assert values["SETTINGS"]["environment_variables"] == {HOSTILE.replace("=", ""): HOSTILE}
    assert values["DATASETS"] == [("rows", "latest")]
    assert values["SOURCE"] == {"a 'b'.py": source.decode(), "latin.py": b"# \xe9\n"}
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert not any("cmd" in comment or "evil" in comment for comment in comments)


def test_hostile_values_are_quoted_in_the_shell_script(workspace, tmp_path):
    asked = replace(request("--text", HOSTILE, environment_variables={"A": HOSTILE}), name=HOSTILE, failed_only=False)
    text = shell_script.script(workspace, run_of(asked), disclose(asked, with_secrets=True)).decode()
    words = shlex.split(text[text.rindex("\nstudio ") :].replace("\\\n", " "))
    assert words[:2] == ["studio", "run"]
    assert f"--argument={HOSTILE}" in words
    assert f"--environment-variable=A={HOSTILE}" in words
    assert f"--name={HOSTILE}" in words
    (tmp_path / "run.sh").write_text(text)
    assert subprocess.run(["sh", "-n", tmp_path / "run.sh"], check=False).returncode == 0


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_what_no_shell_can_pass_on_is_not_exported_as_a_shell_script(workspace, text):
    asked = replace(request(), name=text)
    with pytest.raises(SettingsError, match="no shell can pass on"):
        shell_script.script(workspace, run_of(asked), disclose(asked))


def test_a_secret_of_the_shell_script_is_read_from_a_variable(workspace):
    asked = request("--token=abc", environment_variables={"DOOR": "sesame"})
    text = shell_script.script(workspace, run_of(asked), disclose(asked)).decode()
    assert '--argument=--token="${ARGUMENT_TOKEN}"' in text
    assert '--environment-variable=DOOR="${DOOR}"' in text.replace("DOOR='", "DOOR").replace("=''", "=")
    assert Hidden("DOOR", "the environment variable DOOR") in disclose(asked).hidden


def test_the_facts_of_a_notebook_are_texts():
    facts = facts_of(run_of(replace(request(), name=HOSTILE)))
    assert facts["title"] == HOSTILE
    assert json.loads(json.dumps(facts)) == facts


def test_a_rerun_of_failed_items_is_that_command(workspace):
    asked = replace(request(), rerun_of="run-20260101-000000-aaaaaa", failed_only=True)
    text = shell_script.script(workspace, run_of(asked), disclose(asked)).decode()
    assert "studio rerun run-20260101-000000-aaaaaa --failed-only" in text
    assert Path(asked.entry_script).name not in text


@pytest.mark.parametrize(
    "asked",
    [
        request("--text", HOSTILE, "--flag", node_count=2, process_count_per_node=3, partition_keys=("a b", "c"), error_threshold=-1),
        replace(request(mini_batch_size="1KB", output_action="summary_only"), models=("a:1", "b:2"), datasets=("c:1", "d:2")),
        replace(request(environment_variables={"A": HOSTILE}), side_inputs={"labels": "l:1"}, environment="e:3", compute_target="big one"),
        replace(request(), source_directory="/a 'dir'", allow_reuse=False, name=HOSTILE),
        replace(request(), new_only=True, datasets=("rows",)),
    ],
)
def test_the_shell_scripts_words_are_the_request_again(workspace, asked):
    text = shell_script.script(workspace, run_of(asked), disclose(asked, with_secrets=True)).decode()
    words = shlex.split(text[text.rindex("\nstudio ") :].replace("\\\n", " "))
    args = _parser().parse_args(words[1:-1])  # without "$@"
    again = scoring_commands._request(args, args.entry_script, tuple(args.argument))
    assert replace(again, new_only=args.new_only) == asked
