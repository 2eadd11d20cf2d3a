"""What a run left behind, read."""

import csv
from pathlib import Path


def rows(workspace, run):
    name, path = next((n, p) for n, p in workspace.runs.output(run.id).items() if n.startswith("parallel_run_step"))
    return name, path.read_text(encoding="utf-8").splitlines()


def attempts(workspace, run):
    with open(workspace.runs.logs(run.id)["logs/sys/job_report/processed_mini-batches.csv"], newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def is_alive(pid):
    """A process that ended and that nobody has waited for yet is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def printed(workspace, run, stream="stdout"):
    return "".join(path.read_text() for name, path in workspace.runs.logs(run.id).items() if f"user/{stream}/" in name)
