"""`make test-azure`: the tutorial's walk on a real Azure ML workspace, by the real command line. It costs what a small run costs.

The workspace and the sign-in are those of the command line (README); AZURE_COMPUTE_TARGET names the cluster. What it registers is called
batch-scoring-studio-test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
NAME = "batch-scoring-studio-test"
SCRIPT = """
import os


def run(mini_batch):
    return [f"{os.path.basename(path)}: {open(path).read().strip()}" for path in mini_batch]
"""


def command(home: Path, *words: object) -> Any:
    """The JSON that the command answers with. Ends the program where it fails."""
    print("  ", *words, flush=True)
    call = [sys.executable, "-m", "services", "--workspace", "azure", "--home", home, "--json", *map(str, words)]
    said = subprocess.run(call, cwd=PROJECT, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    value = json.loads(said.stdout)
    if said.returncode:
        raise SystemExit(f"It ended with {said.returncode}: {value.get('error') or value.get('status')}")
    return value


def main() -> None:
    cluster = os.environ.get("AZURE_COMPUTE_TARGET")
    if not cluster:
        raise SystemExit("Name the workspace as README says, and its cluster by AZURE_COMPUTE_TARGET.")
    with tempfile.TemporaryDirectory() as folder:
        home, files = Path(folder) / "home", Path(folder) / "files"
        files.mkdir()
        for number in range(7):
            (files / f"{number}.csv").write_text(f"{number}\n")
        (Path(folder) / "script.py").write_text(SCRIPT)
        (Path(folder) / "model.txt").write_text("a model")
        model = command(home, "model", "register", NAME, Path(folder) / "model.txt")
        dataset = command(home, "dataset", "register", NAME, files)
        asked = ("--model", model["reference"], "--dataset", dataset["reference"], "--entry-script", Path(folder) / "script.py")
        run = command(home, "run", *asked, "--compute-target", cluster, "--mini-batch-size", 3, "--error-threshold", 0, "--wait")
        command(home, "output", run["id"], "--to", Path(folder) / "out")
        rows = sorted((Path(folder) / "out" / "parallel_run_step.txt").read_text().splitlines())
        expected = [f"{number}.csv: {number}" for number in range(7)]
        if rows != expected:
            raise SystemExit(f"The rows are {rows}, not {expected}.")
    print("All seven files were scored once, on Azure ML.")


if __name__ == "__main__":
    main()
