"""An analyst at work in a home, in a process that may be killed at any moment: `python -m tests.year.analyst HOME FILES SEED FIRST LAST`.

Does the deeds numbered from FIRST to before LAST: which, and with what, is drawn from SEED and the number, of what there is by then. What
is about to be done, and the outcome, is printed on standard output, a line of JSON each.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from services.cli.main import main
from services.domain import ResourceKind, Run, RunRequest
from services.errors import StudioError
from services.local.workspace import LocalWorkspace
from services.settings import ParallelRunSettings

KINDS = (ResourceKind.MODEL, ResourceKind.DATASET, ResourceKind.RUN)
SECONDS = 60  # for a run to end
FAILS = "0003"
"""The script fails at files whose names have this in them."""


class Analyst:
    def __init__(self, home: Path, files: Path, seed: str) -> None:
        self.workspace, self.files, self._seed = LocalWorkspace(home), files, seed
        self.workspace.resources.clean_up()
        self.random, self.number = random.Random(), 0

    def work(self, first: int, last: int) -> None:
        for self.number in range(first, last):
            self.random = random.Random(f"{self._seed} {self.number}")
            deed = self.random.choices(list(DEEDS), weights=list(DEEDS.values()))[0]
            try:
                deed(self)
            except StudioError as error:  # such as deleting what a run needs that has not ended
                self.tell("refused", error=error.message)

    def tell(self, event: str, **about: Any) -> None:
        print(json.dumps({"number": self.number, "event": event} | about), flush=True)

    def one_of(self, kind: ResourceKind) -> str | None:
        found = {
            ResourceKind.MODEL: lambda: [model.reference for model in self.workspace.models()],
            ResourceKind.DATASET: lambda: [dataset.reference for dataset in self.workspace.datasets()],
            ResourceKind.RUN: lambda: [run.id for run in self.workspace.runs.latest() if run.status.ended],
        }[kind]()
        return self.random.choice(sorted(found)) if found else None

    # ---- deeds -------------------------------------------------------------------------------------------------------------------

    def registers_a_model(self) -> None:
        name = f"model-{self.random.randrange(5)}"
        self.tell("registering", kind="model", name=name)
        self.tell(
            "registered", kind="model", reference=self.workspace.register_model(name, self.files / "model.joblib", approve=True).reference
        )

    def registers_a_dataset(self) -> None:
        folder = self.files / f"d{self.number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for place in range(4):
            (folder / f"{place:04}.csv").write_text(f"{self.number},{place}\n")
        name, copied = f"data-{self.random.randrange(5)}", self.random.random() < 0.5
        self.tell("registering", kind="dataset", name=name)
        dataset = self.workspace.register_dataset(name, folder, copy=copied)
        rows = {path.name: path.read_text().strip() for path in sorted(folder.iterdir())}
        self.tell("registered", kind="dataset", reference=dataset.reference, rows=rows, own="" if copied else str(folder))

    def submits_a_run(self) -> None:
        if dataset := self.one_of(ResourceKind.DATASET):
            model = self.one_of(ResourceKind.MODEL)
            settings = ParallelRunSettings(mini_batch_size="1", process_count_per_node=1, error_threshold=-1, run_max_try=1)
            request = RunRequest((model,) if model else (), (dataset,), str(self.files / "script.py"), settings, name=f"run {self.number}")
            self._submits(request)

    def runs_one_again(self) -> None:
        if run_id := self.one_of(ResourceKind.RUN):
            run = self.workspace.runs.get(run_id)
            failed_only = bool(run.items_failed) and self.random.random() < 0.5
            self._submits(run.request_again(failed_only=failed_only))

    def _submits(self, request: RunRequest) -> None:
        self.tell("submitting", datasets=request.datasets)
        run = self.workspace.submit(request)
        self.tell("submitted", run=run.id, dataset=request.datasets[0])
        if self.random.random() < 0.5:
            self._waits_for(run)

    def _waits_for(self, run: Run) -> None:
        deadline = time.monotonic() + SECONDS
        while not run.status.ended and time.monotonic() < deadline:
            time.sleep(0.05)
            run = self.workspace.runs.get(run.id)

    def says_something(self) -> None:
        kind = self.random.choice(KINDS)
        if reference := self.one_of(kind):
            tag, note = {f"k{self.random.randrange(3)}": str(self.number)}, f"note {self.number}"
            choices: list[dict[str, Any]] = [{"tags": tag}, {"note": note}, {"pinned": self.random.random() < 0.5}]
            choices += [{"archived": self.random.random() < 0.5}] + [{"name": f"named {self.number}"}] * (kind is ResourceKind.RUN)
            said = self.random.choice(choices)
            self.tell("saying", kind=kind, reference=reference, said=said)
            self.workspace.resources.change(kind, reference, **said)
            self.tell("said", kind=kind, reference=reference, said=said)

    def deletes_something(self) -> None:
        kind = self.random.choice(KINDS)
        if reference := self.one_of(kind):
            self.tell("deleting", kind=kind, reference=reference)
            self.workspace.resources.delete(kind, [reference])
            self.tell("deleted", kind=kind, reference=reference)

    def hands_one_over(self) -> None:
        if run_id := self.one_of(ResourceKind.RUN):
            path = self.files / f"run-{self.number}.zip"
            self.tell("exporting", run=run_id, path=str(path))
            self._command("export", run_id, "--as", "archive", "--to", str(path))
            self.tell("exported", run=run_id, path=str(path))

    def takes_one_over(self) -> None:
        if archives := sorted(self.files.glob("run-*.zip")):
            path = self.random.choice(archives)
            self.tell("importing", path=str(path))
            answer = self._command("import", str(path))
            if answer["imported"]:
                self.tell("imported", run=answer["id"], of=answer["imported_from"])

    def schedules_one(self) -> None:
        if dataset := self.one_of(ResourceKind.DATASET):
            name, script = f"schedule-{self.number}", str(self.files / "script.py")
            self._command("schedule", "add", name, "--every", "daily", "--dataset", dataset, "--entry-script", script)
            self.tell("scheduled", name=name)

    def removes_a_schedule(self) -> None:
        assert self.workspace.schedules
        if known := sorted(schedule.name for schedule in self.workspace.schedules.all()):
            name = self.random.choice(known)
            self.tell("removing", name=name)
            self._command("schedule", "remove", name)
            self.tell("removed", name=name)

    def _command(self, *arguments: str) -> dict[str, Any]:
        with redirect_stdout(StringIO()) as printed, redirect_stderr(StringIO()):
            code = main(["--home", str(self.workspace.home), *arguments, "--json"])
        answer: dict[str, Any] = json.loads(printed.getvalue())
        if code:
            raise StudioError(answer["error"]["message"])
        return answer


DEEDS: dict[Callable[[Analyst], None], int] = {
    Analyst.registers_a_model: 1, Analyst.registers_a_dataset: 3, Analyst.submits_a_run: 5, Analyst.runs_one_again: 3,
    Analyst.says_something: 6, Analyst.deletes_something: 3, Analyst.hands_one_over: 1, Analyst.takes_one_over: 1,
    Analyst.schedules_one: 1, Analyst.removes_a_schedule: 1,
}  # fmt: skip


if __name__ == "__main__":
    home, files, seed, first, last = sys.argv[1:]
    Analyst(Path(home), Path(files), seed).work(int(first), int(last))
