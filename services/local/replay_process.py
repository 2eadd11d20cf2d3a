"""`python -m services.local.replay_process HOME FOLDER`: scores one mini-batch of a run again, in one worker, beside the run: its folder is
only read. Started by replay.py: see scratch_process.py.

The worker gets what the run's worker got: the same plan, the same bytes of the same manifest, the same place (and so the same GPU), the
script as the run's folder keeps it. Only its output folder, its logs and its working folder are others.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from services import gpus, log
from services.domain import MiniBatch
from services.errors import NotFound, StudioError
from services.formats import counted, listed
from services.local import environments, reuse, scratch_process
from services.local.batching import cut, files_of
from services.local.output_reader import worker_name
from services.local.printed_lines import PrintedLines
from services.local.process_memory import most_memory_of_ended
from services.local.run_folder import LocalRunFolder
from services.local.scratch_table import Part, Table, table_of
from services.local.scratch_worker import NotStarted, Scored, ScratchWorker
from services.local.worker_process import Stage, WorkerPlace
from services.predictions.columns import ROW_NUMBER
from services.run_details import Replay, ReplayStage, RowDifference
from services.storage import file_tree
from services.storage.atomic import write_atomically
from services.storage.journal import Attempt, AttemptStatus, Journal
from services.storage.manifest import present_state
from services.storage.serialization import to_json

_MOST_ROWS = 1_000
_MOST_DIFFERENCES = 100
_MOST_NAMED = 3
_MOST_COMPARED = 500_000_000  # bytes
_STAGES = {
    Stage.IMPORT: ReplayStage.IMPORT,
    Stage.INIT: ReplayStage.INIT,
    Stage.READY: ReplayStage.RUN,
    Stage.SHUTDOWN: ReplayStage.SHUTDOWN,
}


class ReplayRun:
    """One replay, from its request to its answer. Use it once."""

    def __init__(self, home: Path, folder: Path, request: Mapping[str, Any]) -> None:
        self._home, self._folder = home, folder
        self._run = LocalRunFolder(home, request["run"])
        self._number: int = request["mini_batch"]
        self._plan = self._run.plan()
        self._script_keeper = self._run.of(request["reused_from"]) if request["reused_from"] else self._run
        self._scratch = LocalRunFolder(folder, "replay")
        self._stage = ReplayStage.STARTING
        self._began = time.monotonic()
        log.hide(*(self._plan.request.settings.environment_variables or {}).values())

    def execute(self) -> Replay:
        """Raises Stopped, StudioError, OSError."""
        batch, total = self._find()
        if batch is None:
            text = f"Run {self._run.path.name} has no mini-batch {self._number:,}: it has {total:,}, the first is number 0."
            raise NotFound(text, "Take its number from the column Mini-batch of the table.")
        attempt = self._attempt_of_the_run()
        script, changes = self._script()
        self._check_models()
        changes += [*self._changed_files(batch), *self._changed_environment()]
        scratch_process.tell(self._folder, {"changes": changes})
        self._scratch.create(self._plan)
        self._scratch.work.mkdir(exist_ok=True)
        write_atomically(self._scratch.facts_file, json.dumps(self._plan.facts(self._run.path.name)))
        place = WorkerPlace(attempt.node if attempt else 0, attempt.process if attempt else 0, self._scratch.logs, self._scratch.work)
        printed = PrintedLines({kind: place.log(file) for kind, file in _PRINTED.items()})
        worker = self._worker(place, script, printed)
        call, error, traceback, said = None, "", "", ""
        try:
            call = worker.call(batch)
            said = worker.shut_down()
        except NotStarted as reason:
            error, traceback = str(reason), reason.traceback
        finally:
            worker.end()
        printed.look(ended=True)
        self._enter(ReplayStage.COMPARING)
        table = self._table(batch, call, place) if call else Table()
        if call and call.failure:
            error, traceback = call.failure["error"], call.failure.get("traceback", "")
        compared = self._compared(call, attempt, error) if call else {"comparison": _of_the_run(attempt)}
        dataset = self._plan.datasets[batch.dataset]
        return Replay(
            run=self._run.path.name,
            mini_batch=batch.index,
            dataset=dataset.reference,
            item="row" if dataset.format else "file",
            items=batch.item_count,
            worker=worker_name(attempt) if attempt else f"node {place.node}, {place.agent_name}",
            environment=f"{self._plan.environment}, Python {self._plan.environment.python_version}",
            changes=tuple(changes),
            columns=table.columns,
            predictions=table.predictions,
            rows=table.rows,
            returned=call.returned if call and call.message else None,
            status=call.status if call else "",
            error=error,
            traceback=traceback,
            causes=table.causes,
            warnings=(*table.warnings, *([f"{said}."] if said else [])),
            **compared,
            printed=printed.lines,
            printed_left_out=printed.left_out,
            written=tuple((name, path.stat().st_size) for name, path in list(self._written().items())[:_MOST_ROWS]),
            start_seconds=worker.start_seconds,
            init_seconds=worker.init_seconds,
            run_seconds=_run_seconds(call),
            seconds=time.monotonic() - self._began,
            memory=worker.peak or most_memory_of_ended(),
            memory_at_start=worker.at_start,
        )

    # ---- what is scored ---------------------------------------------------------------------------------------------------------

    def _find(self) -> tuple[MiniBatch | None, int]:
        """The mini-batch, or None and how many there are. Raises NotFound where the list of files is gone."""
        count = 0
        try:
            for batch in cut(self._plan.datasets, self._plan.request.settings):
                if batch.index == self._number:
                    return batch, 0
                count += 1
        except OSError as error:
            text = f"The list of files of this run's dataset can't be read: {error.strerror or error}."
            raise NotFound(text, "It lies with the dataset, below the workspace's folder.") from error
        return None, count

    def _attempt_of_the_run(self) -> Attempt | None:
        """The last one: the one that counts, where the mini-batch is settled."""
        if not self._run.has_journal:
            return None
        with Journal(self._run.path) as journal:
            attempts = journal.attempts_at(self._number)
        return next((attempt for attempt in reversed(attempts) if attempt.final), attempts[-1] if attempts else None)

    # ---- what changed since -----------------------------------------------------------------------------------------------------

    def _script(self) -> tuple[Path, list[str]]:
        """The script to execute, and sentences. Raises StudioError where there is none, or not the one that was approved."""
        script, kept = Path(self._plan.request.entry_script), self._script_keeper.kept_script(self._plan)
        now, then = _sha256(script), _sha256(kept)
        approved = script.parent.name if script.is_relative_to(self._home / "scripts") else None
        if then is None:  # of an earlier version's run: whether it changed is known by its hash alone
            if now is None:
                raise NotFound(f"The scoring script {script} is gone, and this run kept none.", "Restore it, then replay again.")
            noted = self._plan.inputs.get("script")
            same = noted in (None, hashlib.sha256(json.dumps((script.name, now)).encode()).hexdigest())
            chosen, changes = script, [] if same else [f"{script.name} was changed since, and this run kept none: it is used as it is now."]
        elif now == then:
            chosen, changes = script, []
        else:
            what = "is gone" if now is None else "was changed since"
            chosen, changes = kept, [f"{script.name} {what}: the replay uses the script as the run had it."]
        if approved and _sha256(chosen) != approved:
            text = f"The uploaded script {script.name} is not what was approved: its SHA-256 is no longer {approved}."
            raise StudioError(text, "Upload it again.")
        return chosen, changes + list(self._changed_neighbours(script))

    def _changed_neighbours(self, script: Path) -> Iterator[str]:
        source = self._plan.request.source_directory
        folders = {"source_directory": Path(source) if source else None, "files beside the script": script.parent}
        for name, folder in folders.items():
            then = self._plan.inputs.get(name)
            if folder and then and len(then) == 64 and reuse.files_in(folder, but=script if folder == script.parent else None) != then:
                yield f"Other files in {folder} were changed since: the script finds them as they are now."

    def _check_models(self) -> None:
        """Raises StudioError: what is not the model that was approved is not loaded."""
        for model in self._plan.models:
            if not Path(model.path).exists():
                text = f"Model {model.name}:{model.version} is gone: {model.path} is not there."
                raise NotFound(text, "Without it this mini-batch can't be scored again. Restore it, or rerun with another version.")
            if _sha256(Path(model.path)) != model.sha256:
                text = f"Model {model.name}:{model.version} is not what was registered: its SHA-256 is no longer {model.sha256}."
                raise StudioError(text, "Register the model again, look at it, and approve it; then rerun.")

    def _changed_files(self, batch: MiniBatch) -> Iterator[str]:
        dataset = self._plan.datasets[batch.dataset]
        gone, changed = [], []
        for file in files_of(Path(dataset.manifest), batch):
            now = present_state(dataset.root, file)
            if now is None:
                gone.append(file.path)
            elif now[1] != file.modified_ns or (not dataset.format and now[0] != file.size):
                changed.append(file.path)
        if gone:
            yield f"{counted(len(gone), 'file')} of this mini-batch gone since the dataset was registered: {listed(gone, _MOST_NAMED)}."
        if changed:
            files = listed(changed, _MOST_NAMED)
            yield f"{counted(len(changed), 'file')} of this mini-batch changed since the dataset was registered: {files}."
        for name, root in self._plan.side_inputs.items():
            if not Path(root).is_dir():
                yield f"The folder of side input {name} is gone: {root}."

    def _changed_environment(self) -> Iterator[str]:
        """Raises NotFound where it is gone."""
        then = self._plan.environment
        try:
            environments.check_is_there(then.interpreter)
        except StudioError as error:
            name = then.describe()
            hint = f"Build {name} again, then rerun: a replay needs the run's own environment."
            raise NotFound(f"The run's {name} is gone. {error.message}", hint) from error
        now = environments.environment(then.name, then.version, then.interpreter)
        if then.packages and (changes := environments.what_changed(then, now)):
            yield f"The environment changed since: {changes}."

    # ---- scoring ----------------------------------------------------------------------------------------------------------------

    def _worker(self, place: WorkerPlace, script: Path, printed: PrintedLines) -> ScratchWorker:
        def config() -> dict[str, Any]:
            wanted = self._plan.for_worker(self._scratch.output)
            return wanted | {"entry_script": str(script), "argv": [str(script), *wanted["argv"][1:]]}

        def at_tick(stage: Stage) -> None:
            self._enter(_STAGES[stage])
            if lines := printed.look():
                scratch_process.tell(self._folder, {"printed": [(line.seconds, line.stream, line.text) for line in lines]})

        number = place.process * self._plan.request.settings.node_count + place.node  # as the runner gives them
        # Nothing is written beside the script, which may lie in the run's folder.
        own = {**gpus.of_worker(number, gpus.visible()), "PYTHONDONTWRITEBYTECODE": "1"}
        return ScratchWorker(self._plan, self._scratch, place, own, config, at_tick)

    def _enter(self, stage: ReplayStage) -> None:
        if stage is not self._stage:
            self._stage = stage
            scratch_process.tell(self._folder, {"stage": stage})

    def _written(self) -> dict[str, Path]:
        rows = self._scratch.published_file(self._plan)
        return {name: path for name, path in self._scratch.output_files().items() if path != rows}

    # ---- the answer -------------------------------------------------------------------------------------------------------------

    def _table(self, batch: MiniBatch, call: Scored, place: WorkerPlace) -> Table:
        dataset = self._plan.datasets[batch.dataset]
        manifest = self._folder / "mini_batch.jsonl"
        with open(dataset.manifest, "rb") as lines:
            lines.seek(batch.offset)
            manifest.write_bytes(lines.read(batch.length))
        alone = replace(dataset, manifest=str(manifest), item_count=batch.item_count)
        first = _first_path(manifest)

        def values_of(row: Mapping[str, Any], own: Mapping[str, str]) -> Mapping[str, Any]:
            values = {own["Mini-batch"]: batch.index}
            number = row.get(own.get(ROW_NUMBER, ""))
            if number and row[own["File"]] == first:
                values[own[ROW_NUMBER]] = number + batch.rows_before
            return values

        return table_of(self._scratch, self._plan, place, [Part(alone, batch.length, batch.item_count, call)], values_of, _MOST_ROWS)

    def _compared(self, call: Scored, attempt: Attempt | None, error: str) -> dict[str, Any]:
        """Whether the rows are those of the run."""
        if attempt is None or attempt.status != AttemptStatus.RUN_DONE:
            then = attempt.error.partition("\n")[0] if attempt else ""
            same_error = bool(error) and error == then
            return {"comparison": "It fails as it did in the run." if same_error else _of_the_run(attempt)}
        if call.message is None:
            return {"same": False, "comparison": f"In the run, it returned {counted(attempt.succeeded, 'row')}."}
        if self._plan.request.settings.output_action != "append_row":
            return {"comparison": "The run keeps no rows to compare with: its script writes its own output."}
        rows = self._run.rows(self._plan)
        if rows is None or attempt.end - attempt.begin > _MOST_COMPARED:
            return {"comparison": "The rows of the run are not there any more." if rows is None else "There are too many rows to compare."}
        with open(rows, "rb") as file:
            file.seek(attempt.begin)
            then_bytes = file.read(attempt.end - attempt.begin)
        if then_bytes == call.message.rows:
            return {"same": True, "comparison": _all_same(attempt.succeeded)}
        now = attempt._replace(begin=0, end=len(call.message.rows), row_ends=call.message.row_ends)
        pairs = zip_longest(_rows(then_bytes, attempt), _rows(call.message.rows, now))
        differences: list[RowDifference] = []
        different = count = 0
        for number, (before, after) in enumerate(pairs, 1):
            count = number
            if before != after:
                different += 1
                if len(differences) < _MOST_DIFFERENCES:
                    differences.append(RowDifference(number, before, after))
        text = f"{different:,} of {counted(count, 'row')} {'differs' if different == 1 else 'differ'} from the run's."
        return {"same": False, "comparison": text, "different": different, "differences": tuple(differences)}


_PRINTED = {"stdout": "stdout", "stderr": "stderr", "log": "entry_script_log"}


def _of_the_run(attempt: Attempt | None) -> str:
    if attempt is None:
        return "The run has not tried it yet."
    if attempt.status == AttemptStatus.RUN_DONE:
        return f"In the run, it returned {counted(attempt.succeeded, 'row')}."
    first = attempt.error.partition("\n")[0]
    return f"In the run, attempt {attempt.attempt} at it failed: {first}"


def _all_same(rows: int) -> str:
    return "The one row is as in the run." if rows == 1 else f"All {rows:,} rows are as in the run." if rows else "No row, as in the run."


def _rows(content: bytes, attempt: Attempt) -> Iterator[str]:
    for begin, end in attempt.row_slices():
        yield content[begin - attempt.begin : end - attempt.begin - 1].decode("utf-8", "backslashreplace")


def _run_seconds(call: Scored | None) -> float | None:
    if call is None:
        return None
    header = call.message.header if call.message else call.failure or {}
    return float(header["run_seconds"])


def _first_path(manifest: Path) -> str:
    with open(manifest, "rb") as lines:
        return str(json.loads(lines.readline())[0])


def _sha256(path: Path) -> str | None:
    try:
        return file_tree.sha256_of(path)
    except StudioError:
        return None


def _work(home: Path, folder: Path, request: dict[str, Any]) -> Any:
    return json.loads(to_json(ReplayRun(home, folder, request).execute()))


if __name__ == "__main__":
    sys.exit(scratch_process.main(_work))
