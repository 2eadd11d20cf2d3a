"""The command line: a run handed over as code and as a notebook, each executed as a person would, in a folder that is not the clone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_the_shell_script_does_the_run_again_from_any_folder(own_completed_run, tmp_path):
    target = tmp_path / "it's a script.sh"
    said = own_completed_run.command("export", own_completed_run.id, "--as", "cli", "--to", target, "--json")
    assert (said.code, said.json["as"], said.json["notes"]) == (0, "cli", [])
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("BATCH_SCORING", "PYTHON"))}
    again = subprocess.run(
        ["sh", target, "--allow-reuse", "off", "--json"],
        cwd=elsewhere,
        env=variables,
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    made = json.loads(again.stdout)
    assert (made["status"], made["name"], made["reused_from"]) == ("Completed", "first", None)
    rows = [own_completed_run.command("predictions", run, "--to", "-").out for run in (own_completed_run.id, made["id"])]
    assert rows[0] == rows[1]
    assert rows[0].count("\n") == 4


def test_a_variable_of_the_run_has_to_be_set_for_the_script(own_completed_run, tmp_path):
    command = own_completed_run.command
    script = tmp_path / "script.py"
    script.write_text("import os\ndef run(mini_batch):\n    return [os.environ['DOOR']] * len(mini_batch)\n")
    secret = ("--environment-variable", "DOOR=sesame 'open'", "--argument=--api-key", "--argument=s3same")
    run = command("run", "--dataset", "rows", "--entry-script", script, *secret, "--process-count-per-node", 1, "--wait", "--json").json
    said = command("export", run["id"], "--as", "cli", "--to", tmp_path / "run.sh")
    assert "DOOR" in said.err
    assert "--api-key" in said.err
    text = (tmp_path / "run.sh").read_text()
    assert "sesame" not in text
    assert "s3same" not in text
    stopped = subprocess.run(["sh", tmp_path / "run.sh"], capture_output=True, encoding="utf-8", check=False)
    assert (stopped.returncode, stopped.stdout) == (2, "")
    assert "Set the variable DOOR" in stopped.stderr
    command("export", run["id"], "--as", "cli", "--to", tmp_path / "all.sh", "--with-secrets")
    assert "DOOR=sesame" in (tmp_path / "all.sh").read_text()


RUN_CELLS = """
import json, sys
cells = json.load(open(sys.argv[1]))["cells"]
names, last = {}, None
for cell in cells:
    if cell["cell_type"] == "code":
        *lines, end = "".join(cell["source"]).rstrip().split("\\n")
        exec("".join(cell["source"]), names)
table = names["predictions"]
print(json.dumps([table["File"].tolist(), table["Prediction"].astype(str).tolist(), int(names["counts"].sum())]))
assert not any(name.split(".")[0] in ("services", "pages") for name in sys.modules)
"""


def executed(notebook: Path, folder: Path) -> list[object]:
    """What its cells come to in a Python that knows nothing of this program: files, predictions, and the sum of the counts."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", RUN_CELLS, notebook], cwd=folder, capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_notebook_shows_the_predictions_without_this_program(completed_run, partly_failed, tmp_path):
    for scored, name in ((completed_run, "run.ipynb"), (partly_failed, "failed.ipynb")):
        said = scored.command("export", scored.id, "--as", "notebook", "--to", tmp_path / name)
        assert (said.code, said.out) == (0, f"Wrote {scored.id} to {tmp_path / name}\n")
    files = [f"000{number}.csv" for number in range(3)]
    assert executed(tmp_path / "run.ipynb", tmp_path) == [files, ["0", "1", "2"], 3]
    assert sorted(executed(tmp_path / "failed.ipynb", tmp_path)[0]) == files


def test_a_zip_has_the_notebook_with_its_predictions_beside_it(completed_run, tmp_path):
    assert completed_run.command("export", completed_run.id, "--as", "notebook", "--to", tmp_path / "run.zip").code == 0
    folder = tmp_path / "unpacked"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", tmp_path / "run.zip", folder], check=True)
    assert sorted(path.name for path in folder.iterdir()) == ["predictions.ipynb", "predictions.parquet"]
    assert executed(folder / "predictions.ipynb", folder)[1] == ["0", "1", "2"]


def test_what_cannot_be_exported_says_why_and_leaves_no_file(completed_run, tmp_path):
    target = tmp_path / "x.sh"
    for arguments, message in (
        (("run-nope", "--as", "cli"), "There is no run “run-nope”."),
        ((completed_run.id, "--as", "docx"), "invalid choice: 'docx'"),
    ):
        said = completed_run.command("export", *arguments, "--to", target)
        assert (said.code, message in said.err) == (2, True)
    assert list(tmp_path.iterdir()) == []
