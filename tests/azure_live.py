"""`make test-azure`: the tutorial's walk on a real Azure ML workspace, by the command line. It costs what two small runs cost.

The workspace and the sign-in are those of the command line (README); AZURE_COMPUTE_TARGET names the cluster; `--workspace azure-v2`
walks by SDK v2. What it registers is called batch-scoring-studio-test. One run loads a real model, by the tutorial's script; the other one
fails. What both left is kept as a recording that the stand-in plays again (tests/azure_service/recordings.py), without what tells whose it
was: look at it before you commit it.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import io
import json
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from services.cli.main import main as command_line
from services.connection import from_environment
from services.workspaces import open_workspace
from tests.azure_service.recordings import RECORDED, Scrubber, record, traces_in

NAME = "batch-scoring-studio-test"
TUTORIAL = Path(__file__).with_name("scripts") / "tutorial_script.py"
FAILS = """
import os


def run(mini_batch):
    print("scoring", mini_batch)
    raise ValueError(f"no such colour in {os.path.basename(mini_batch[0])}")
"""
CAUSE = "ValueError: no such colour in "
_NOT_BELOW_LOGS = ("user_logs/", "system_logs/", "azureml-logs/")
_OURS = ("logs/azure_status.txt", "logs/sys/runner.log")


def command(workspace: str, home: Path, *words: object, ends_with: int = 0) -> Any:
    """The JSON that the command answers with. Ends the program where it ends with another code."""
    print("  ", *words, flush=True)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = command_line(["--workspace", workspace, "--home", str(home), "--json", *map(str, words)])
    value = json.loads(said.getvalue())
    if code != ends_with:
        raise SystemExit(f"It ended with {code}: {value.get('error') or value.get('status')}")
    return value


def make_inputs(folder: Path) -> list[str]:
    """Seven files of one row, the model of the tutorial, both scripts. Returns the rows that are to come."""
    import joblib
    from sklearn.linear_model import LogisticRegression

    (folder / "files").mkdir()
    rows = [[float(number % 3), number / 7] for number in range(60)]
    model = LogisticRegression(C=100, max_iter=1000).fit(rows, [number % 3 for number in range(60)])
    joblib.dump(model, folder / "model.joblib")
    for number in range(7):
        (folder / "files" / f"{number}.csv").write_text(",".join(map(str, rows[number])) + "\n")
    (folder / "tutorial.py").write_text(TUTORIAL.read_text(encoding="utf-8").replace("classification_model", NAME))
    (folder / "fails.py").write_text(FAILS)
    return [f"{number}.csv: {prediction}" for number, prediction in enumerate(model.predict(rows[:7]))]


def keep(workspace: str, home: Path, run_id: str, folder: Path, scrubber: Scrubber) -> None:
    """Keep what a run left there as a recording."""
    runs = open_workspace(workspace, home).runs
    run = runs.get(run_id)
    logs = {name: path for name, path in runs.logs(run_id).items() if name not in _OURS}
    there = {name.removeprefix("logs/") if name.removeprefix("logs/").startswith(_NOT_BELOW_LOGS) else name: logs[name] for name in logs}
    message = (run.error or "").rpartition("Azure ML says: ")[2]
    record(folder, str(run.status), message, there, runs.output(run_id), scrubber)
    print(f"   kept in {folder}", flush=True)
    for trace in traces_in(folder):
        raise SystemExit(f"{trace}. Nothing may tell whose it was: extend tests/azure_service/recordings.py.")


def names_to_replace() -> dict[str, str]:
    """What tells whose a recording is, and what it is replaced by."""
    place = from_environment(Path())
    names = {
        place.subscription_id: "subscription", place.resource_group: "group", place.workspace_name: "workspace", place.tenant_id: "tenant",
        place.client_id: "client", os.environ.get("AZURE_COMPUTE_TARGET", ""): "cluster", socket.gethostname(): "machine",
        getpass.getuser(): "user", str(Path.home()): "/home", str(Path(__file__).parents[1]): "/project",
    }  # fmt: skip
    return {name: stands_for for name, stands_for in names.items() if name and name != "root"}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.azure_live", description="The tutorial's walk on a real Azure ML workspace.")
    parser.add_argument("--keep", type=Path, default=RECORDED, help="the folder of the recordings")
    parser.add_argument("--workspace", choices=("azure", "azure-v2"), default="azure", help="by which SDK")
    given = parser.parse_args(arguments)
    keep_in: Path = given.keep
    workspace: str = given.workspace
    cluster = os.environ.get("AZURE_COMPUTE_TARGET")
    if not cluster:
        raise SystemExit("Name the workspace as README says, and its cluster by AZURE_COMPUTE_TARGET.")
    scrubber = Scrubber(names_to_replace())
    with tempfile.TemporaryDirectory() as temporary:
        folder, home = Path(temporary), Path(temporary) / "home"
        expected = make_inputs(folder)
        model = command(workspace, home, "model", "register", NAME, folder / "model.joblib")
        dataset = command(workspace, home, "dataset", "register", NAME, folder / "files")
        asked = ("--dataset", dataset["reference"], "--compute-target", cluster, "--mini-batch-size", 3, "--error-threshold", 0, "--wait")
        run = command(workspace, home, "run", "--model", model["reference"], "--entry-script", folder / "tutorial.py", *asked)
        keep(workspace, home, run["id"], keep_in / "completed", scrubber)
        command(workspace, home, "output", run["id"], "--to", folder / "out")
        rows = sorted((folder / "out" / "parallel_run_step.txt").read_text().splitlines())
        if rows != expected:
            raise SystemExit(f"The rows are {rows}, not {expected}.")
        failed = command(workspace, home, "run", "--entry-script", folder / "fails.py", *asked, ends_with=1)
        keep(workspace, home, failed["id"], keep_in / "failed", scrubber)
        if not failed["error"].startswith(CAUSE):
            raise SystemExit(f"The run failed, and its first line is not the script's exception: {failed['error']}")
        causes = command(workspace, home, "failures", failed["id"], "--by-cause")["causes"]
        if not any(cause["cause"].startswith(CAUSE) for cause in causes):
            raise SystemExit(f"No failed item has the script's exception as its cause: {causes}")
    print("All seven files were scored once, on Azure ML, and a script that fails was told why.")


if __name__ == "__main__":
    sys.exit(main())
