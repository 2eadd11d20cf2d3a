"""What a run left behind, read."""

import csv


def rows(workspace, run):
    name, path = next((n, p) for n, p in workspace.output(run.id).items() if n.startswith("parallel_run_step"))
    return name, path.read_text(encoding="utf-8").splitlines()


def attempts(workspace, run):
    with open(workspace.logs(run.id)["logs/sys/job_report/processed_mini-batches.csv"], newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def printed(workspace, run, stream="stdout"):
    return "".join(path.read_text() for name, path in workspace.logs(run.id).items() if f"user/{stream}/" in name)
