"""What can be known of a run: its failures, its logs and how it goes on, trials and replays, where a row is from, and how true labels judge
it. Plain values, the same for every workspace. Apart from domain.py, because a run's own process needs none of them, and making such
classes is what takes longest when it starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from services import formats
from services.domain import Run
from services.errors import NothingNew, SettingsError
from services.file_names import quoted
from services.formats import counted


@dataclass(frozen=True)
class Failure:
    """An attempt at a mini-batch that failed, or that returned fewer rows than items: which files, what was said, and what follows."""

    mini_batch: int
    attempt: int
    status: str
    items: tuple[str, ...]
    items_failed: int
    final: bool
    worker: str
    error: str
    """First the line a person should see, then the traceback; empty for a short return."""

    @property
    def error_type(self) -> str:
        """The exception's class, with which its line begins: `ValueError`; empty for a short return."""
        return self.error.partition("\n")[0].partition(":")[0]


@dataclass(frozen=True)
class FailedItem:
    """An item without a prediction. `item` is its path in the dataset, as the table has it, "" where it isn't known which one has
    none; of a table's row the path of its file. `cause` is the sentence on this very item; `attempt` how often it was tried, all in all."""

    item: str
    cause: str
    mini_batch: int
    attempt: int
    worker: str
    row_number: int | None = None
    """Of a table's row, which data row of its file it is, from 1, where that is known."""

    @property
    def name(self) -> str:
        """What it is called: `prices.csv`, or of a table's row `prices.csv, row 17`."""
        return self.item if self.row_number is None else f"{self.item}, row {self.row_number}"


@dataclass(frozen=True)
class FailureCause:
    """Failed items whose sentences differ in names and numbers only. `cause` is that sentence, with `…` for what differs and for names and
    numbers between two that differ; `share` is of all failed items, from 0 to 1; `example` is one of the items."""

    cause: str
    count: int
    share: float
    example: str
    template: str
    """What the table's column Cause has for all of them."""


# ---- logs --------------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LogQuery:
    """Which lines of a run's logs: those that hold `text` (small and capital letters are the same), from this `level` up (one of LEVELS;
    a line that doesn't say its level counts as INFO), of one `worker` (as LogSearch.workers has it), of one `mini_batch`. Of these the last
    `limit`, as far as they are within the last `most_bytes` of the logs (None: anywhere)."""

    LEVELS: ClassVar[tuple[str, ...]] = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

    text: str = ""
    level: str = ""
    worker: str = ""
    mini_batch: int | None = None
    limit: int = 500
    most_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.level and self.level not in self.LEVELS:
            raise SettingsError("level", f"“{self.level}” is not a level", f"Give one of {', '.join(self.LEVELS)}.")
        if self.limit < 1:
            raise SettingsError("last", f"{self.limit} is not a number of lines", "Give 1 or more.")
        if "\n" in self.text:
            raise SettingsError("search", "a line holds no line break", "Search for a part of one line.")


@dataclass(frozen=True)
class LogLine:
    """A line of a run's logs. `time` is what the line says (`time_inferred` False), else that of the line before it in its file or of the
    begin of its mini-batch, whichever is later; None where neither is known. `level` is "" where the line doesn't say it. `mini_batch` is
    known by the place in the log, which the worker notes beside each of its attempts, or by what the line says; else by its time
    (`mini_batch_inferred`), since a worker makes one attempt at a time. `log` is the file's name in Azure's layout, or “attempts” for the
    error of an attempt that failed; `place` is where in it the line is."""

    text: str
    time: datetime | None = None
    time_inferred: bool = False
    worker: str = ""
    level: str = ""
    mini_batch: int | None = None
    mini_batch_inferred: bool = False
    log: str = ""
    place: int = 0


@dataclass(frozen=True)
class LogSearch:
    """What a search through a run's logs found: `lines` in the order of their time. `workers` are all that have logs. `scanned` bytes of
    `size` were read; with `more` there may be earlier lines that match. `ends` says how far it went: a later search finds what comes
    after. `notes` are sentences on files that could not be read to their end."""

    lines: tuple[LogLine, ...] = ()
    workers: tuple[str, ...] = ()
    scanned: int = 0
    size: int = 0
    more: bool = False
    stopped: bool = False
    ends: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


# ---- a run that is watched -------------------------------------------------------------------------------------------------------------


class WorkerState(StrEnum):
    """What a worker does: importing the script, calling init(), calling run(), ending; or nothing, as it waits for a mini-batch."""

    IMPORT = "import"
    INIT = "init"
    RUN = "run"
    WAIT = "wait"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class WorkerSpan:
    """What one worker did from `begin` to `end`, seconds since 1970. Of `RUN`: `busy` is which share of that time it was in calls of run(),
    from 0 to 1; `attempts` began in it, and `failed` of these left items without a row; `mini_batch` is the one to look at: one that
    failed, else the slowest. `going_on`: not ended when this was told. `reason` is why its process ended, in part of a sentence."""

    state: WorkerState
    begin: float
    end: float
    busy: float = 1.0
    attempts: int = 0
    failed: int = 0
    mini_batch: int | None = None
    going_on: bool = False
    reason: str = ""


@dataclass(frozen=True)
class WorkerActivity:
    """A worker: what it did, in the order of time, and pairs (seconds since 1970, bytes) of the memory that it and what it started had."""

    name: str
    spans: tuple[WorkerSpan, ...]
    memory: tuple[tuple[float, int], ...] = ()
    processes: int = 1
    """That took this worker's place, one after the other."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Items that were settled from `begin` on, for as long as a bucket of time lasts."""

    begin: float
    succeeded: int
    failed: int


@dataclass(frozen=True)
class SlowAttempt:
    """One of the attempts whose call of run() took longest."""

    mini_batch: int
    attempt: int
    worker: str
    seconds: float
    items: int
    status: str


@dataclass(frozen=True)
class RunActivity:
    """How a run goes, or went, over time. Times are seconds since 1970; it spans `begin` to `end`, in buckets of `bucket_seconds`.

    `attempts` are all that have ended, `mini_batches_failed` the mini-batches whose last try failed. `last_ended_at` is when an attempt
    ended last. `timeout` is the run_invocation_timeout, `suggested_timeout` what would suit the slowest call; None where none was seen.
    `last_rows` are the last lines of the output so far. `unknown` are sentences on what is not known of this run. `share_read`: of its
    attempts, from 0 to 1, those that this is made of.
    """

    begin: float
    end: float
    bucket_seconds: float
    pace: tuple[Pace, ...] = ()
    workers: tuple[WorkerActivity, ...] = ()
    slowest: tuple[SlowAttempt, ...] = ()
    attempts: int = 0
    mini_batches_failed: int | None = None
    last_ended_at: float | None = None
    timeout: int = 0
    suggested_timeout: int | None = None
    last_rows: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    share_read: float = 1.0

    @property
    def overdue(self) -> tuple[tuple[str, WorkerSpan], ...]:
        """Calls of run() that were going on, with the names of their workers, the longest first."""
        calls = [(w.name, span) for w in self.workers for span in w.spans if span.going_on and span.state is WorkerState.RUN]
        return tuple(sorted(calls, key=lambda call: call[1].begin))


@dataclass(frozen=True)
class MiniBatchAttempt:
    """An attempt at a mini-batch. `seconds` are all, `run_seconds` those in run(), None where it isn't known; `error` as of a Failure."""

    attempt: int
    status: str
    worker: str
    started_at: datetime | None
    seconds: float | None
    run_seconds: float | None
    succeeded: int | None
    failed: int
    final: bool
    error: str


@dataclass(frozen=True)
class MiniBatchDetail:
    """One mini-batch of a run: its first items by name, of `item_count`, and every attempt at it. `item_count` is None where it isn't
    known; `items` is then empty. `running_on` is the worker that is at it, "" where none is, since `running_since`."""

    number: int
    dataset: str
    item: str
    item_count: int | None
    items: tuple[str, ...]
    attempts: tuple[MiniBatchAttempt, ...]
    running_on: str = ""
    running_since: datetime | None = None


# ---- a trial: some items scored before the run ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrialRow:
    """A row of a trial, as a run's table of predictions has it: `values` by column, None where a cell is empty. `item` is a path in the
    dataset, and `row` the row's number in that file, from 1, where items are rows. `error` is why there is no prediction, else ""."""

    item: str
    row: int | None
    status: str
    values: Mapping[str, Any]
    error: str = ""


@dataclass(frozen=True)
class Estimate:
    """How long a whole run takes, from its submission to its last row: between `seconds_low` and `seconds_high`, by what a trial measured.
    `why` are sentences on what makes the range wide, the most important first."""

    items: int
    item: str
    mini_batches: int
    workers: int
    seconds_low: float
    seconds_high: float
    why: tuple[str, ...] = ()

    def describe(self) -> str:
        """“between 2 and 4 minutes for 200,000 rows”."""
        return f"{formats.duration_between(self.seconds_low, self.seconds_high)} for {formats.counted(self.items, self.item)}"


@dataclass(frozen=True)
class Suggestion:
    """A better value of a setting: `setting` is its name in ParallelRunSettings, `value` as it is typed there, `why` a sentence."""

    setting: str
    value: str
    why: str


@dataclass(frozen=True)
class Trial:
    """Some items of a run, scored as the run would. A call of run() takes `seconds_per_call` and, for each item, `seconds_per_item` more:
    reading the items and making rows of what is returned counted. None where too little was scored to tell.

    `start_seconds` is from the start of a worker to the end of init(), which took `init_seconds`. `memory` is the most that a worker and
    what it started had at once, `memory_at_start` what it had after init(), `memory_per_item` what each item of a mini-batch adds: bytes,
    None where the system doesn't tell. `measured_items` were scored to measure, beside those of `rows`.

    `error` is why the trial ended before its items were scored, as the run would say it, "" where it didn't; `traceback` belongs to it.
    `not_numbers` are sentences on predictions that are not numbers among others that are. `output` is the end of what the script printed.
    `not_tried` are sentences on what a trial can't tell here, as of a cluster; `place` says where the run would be executed.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[TrialRow, ...] = ()
    predictions: tuple[str, ...] = ()
    """Those of the columns that hold what run() returned."""
    item: str = "file"
    succeeded: int = 0
    failed: int = 0
    measured_items: int = 0
    seconds: float = 0.0
    start_seconds: float | None = None
    init_seconds: float | None = None
    first_call_seconds: float | None = None
    seconds_per_call: float | None = None
    seconds_per_item: float | None = None
    slowest_call_seconds: float | None = None
    memory: int | None = None
    memory_at_start: int | None = None
    memory_per_item: float | None = None
    warnings: tuple[str, ...] = ()
    causes: tuple[FailureCause, ...] = ()
    not_numbers: tuple[str, ...] = ()
    estimate: Estimate | None = None
    suggestions: tuple[Suggestion, ...] = ()
    error: str = ""
    traceback: str = ""
    output: str = ""
    place: tuple[str, ...] = ()
    not_tried: tuple[str, ...] = ()

    def facts(self) -> dict[str, str]:
        """What was measured, for people, by what it is."""
        per_item, per_call, memory = self.seconds_per_item, self.seconds_per_call, self.memory
        values = {
            "Items": f"{self.succeeded:,} succeeded, {self.failed:,} failed" if self.rows else "",
            f"Time for each {self.item}": "" if per_item is None else formats.short_duration(per_item),
            "Time for each call of run()": "" if per_call is None else formats.short_duration(per_call),
            "Start of a worker": "" if self.start_seconds is None else formats.short_duration(self.start_seconds),
            "Of which init()": "" if self.init_seconds is None else formats.short_duration(self.init_seconds),
            "Memory of a worker": "" if memory is None else f"{formats.size(memory)} at most",
            "Memory after init()": "" if self.memory_at_start is None else formats.size(self.memory_at_start),
        }
        return {name: value for name, value in values.items() if value}


# ---- a replay: one mini-batch scored again, beside its run -------------------------------------------------------------------------------


@dataclass(frozen=True)
class PrintedLine:
    """A line that a script printed: after how many seconds of its worker's life it was seen, and where: stdout, stderr or log."""

    seconds: float
    stream: str
    text: str


@dataclass(frozen=True)
class RowDifference:
    """A row that a replay returned, and the run didn't: `number` in the mini-batch, from 1; None where one of both has no such row."""

    number: int
    run: str | None
    replay: str | None


class ReplayStage(StrEnum):
    """Where a replay is."""

    STARTING = "starting"
    IMPORT = "importing the scoring script"
    INIT = "init()"
    RUN = "run()"
    SHUTDOWN = "shutdown()"
    COMPARING = "comparing with the run"


@dataclass(frozen=True)
class ReplayProgress:
    """A replay under way: what changed since the run, where it is, since when (seconds), and what was printed by now."""

    stage: ReplayStage = ReplayStage.STARTING
    changes: tuple[str, ...] = ()
    printed: tuple[PrintedLine, ...] = ()


@dataclass(frozen=True)
class Replay:
    """One mini-batch of a run, scored again by itself: by the script, the settings and the environment of the run, into a folder that is
    removed. `changes` are sentences on what is no longer what the run had.

    `rows` are the first of those of the `items` that run() returned `returned` rows for. `status` is how it ended, in the words of the
    journal; `error` what a run would say of it, or why no worker started, with the `traceback` of the script. `same` is whether all rows
    are those of the run, letter by letter, None where these aren't known; `comparison` says it in a sentence, `differences` are the first
    of `different` rows. `printed` are the first and the last lines; of `printed_left_out` in between none is kept. `written` are the
    files that the script wrote into its output folder, with their bytes. Seconds and bytes are None where they aren't known.
    """

    run: str
    mini_batch: int
    dataset: str = ""
    item: str = "file"
    items: int = 0
    worker: str = ""
    environment: str = ""
    changes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    predictions: tuple[str, ...] = ()
    rows: tuple[TrialRow, ...] = ()
    returned: int | None = None
    status: str = ""
    error: str = ""
    traceback: str = ""
    causes: tuple[FailureCause, ...] = ()
    warnings: tuple[str, ...] = ()
    same: bool | None = None
    comparison: str = ""
    different: int = 0
    differences: tuple[RowDifference, ...] = ()
    printed: tuple[PrintedLine, ...] = ()
    printed_left_out: int = 0
    written: tuple[tuple[str, int], ...] = ()
    start_seconds: float | None = None
    init_seconds: float | None = None
    run_seconds: float | None = None
    seconds: float = 0.0
    memory: int | None = None
    memory_at_start: int | None = None

    @property
    def succeeded(self) -> bool:
        """Whether run() returned a row for each item."""
        return not self.error and self.returned is not None and self.returned >= self.items

    def facts(self) -> dict[str, str]:
        """What was measured, for people, by what it is."""
        seconds = {"Start of the worker": self.start_seconds, "Of which init()": self.init_seconds, "run()": self.run_seconds}
        values = {name: "" if value is None else formats.short_duration(value) for name, value in seconds.items()}
        values["Memory at most"] = "" if self.memory is None else formats.size(self.memory)
        values["Memory after init()"] = "" if self.memory_at_start is None else formats.size(self.memory_at_start)
        return {name: value for name, value in values.items() if value}


# ---- where a prediction comes from ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RowKey:
    """Which row it is, whatever else is scored later: its file, its mini-batch, and its place among the rows of that mini-batch."""

    file: str
    mini_batch: int
    place: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> RowKey:
        return cls(row["File"], row["Mini-batch"], row["Place"])


@dataclass(frozen=True)
class RowAttempt:
    """One attempt at a row's mini-batch. `error` is a line for people, then the traceback; "" where it succeeded."""

    attempt: int
    status: str
    worker: str
    started_at: datetime
    seconds: float
    error: str


@dataclass(frozen=True)
class RowTrace:
    """Of one row: `input` is its file, None where it is gone; `changed` is a sentence where it is no longer what was scored, else "".
    `log` are lines of its worker's own output: those that name the file, and those of the time when its mini-batch was scored."""

    input: Path | None
    changed: str
    tries: tuple[RowAttempt, ...]
    log: tuple[str, ...]

    @property
    def error(self) -> str:
        """What the last try said; "" where it succeeded."""
        return self.tries[-1].error if self.tries else ""


@dataclass(frozen=True)
class Provenance:
    """What went into a run. Models, datasets and the script are (what it is called, its SHA-256); a dataset's is that of the list of its
    files with their sizes and times. `inputs` are the SHA-256s that its output depends on."""

    run: str
    title: str
    status: str
    submitted_at: datetime
    ended_at: datetime | None
    models: tuple[tuple[str, str], ...]
    datasets: tuple[tuple[str, str], ...]
    script: tuple[str, str]
    settings: Mapping[str, Any]
    python: str
    packages: Mapping[str, str]
    inputs: Mapping[str, str]
    reused_from: str | None = None
    rerun_of: str | None = None


# ---- what is new of a dataset that grew ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewItems:
    """What of a dataset has no prediction by the same model, script, arguments and environment yet, in files. `adds_to` is the run whose
    predictions a run of it would be added to, "" where there is none, and `why_none` may say why. `new` were not there, `changed` were
    others, `failed` have no prediction; `kept` stay as they are, `gone` too, though their files are not there any more: of `unmarked` the
    predictions do not say yet that they are gone, or there again. `waiting` are paths that changed in the last seconds: they may be half
    written, and are left for the next time. `dataset` is for people."""

    dataset: str
    adds_to: str = ""
    why_none: str = ""
    new: int = 0
    changed: int = 0
    failed: int = 0
    kept: int = 0
    gone: int = 0
    unmarked: int = 0
    waiting: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return self.new + self.changed + self.failed

    def describe(self) -> str:
        """Such as `Added to run-7: 3 new files, 1 changed, 2 that failed before; 20 kept, 1 of them gone.`"""
        if not self.adds_to:
            return f"Scores everything: {self.why_none or 'nothing was scored with the same model and script before.'}"
        gone = f"; the rows of {counted(self.gone, 'file')} that {'is' if self.gone == 1 else 'are'} gone stay" if self.gone else ""
        stay = f"{counted(self.kept, 'file')} {'stays' if self.kept == 1 else 'stay'}"
        return f"Added to {self.adds_to}, of which {stay}: {self._parts()}{gone}."

    def describe_new(self) -> str:
        """Such as `3 new files, 1 changed file. 20 files are scored already.`"""
        scored = f"{counted(self.kept, 'file')} {'is' if self.kept == 1 else 'are'} scored already."
        gone = f" {counted(self.gone, 'file')} {'is' if self.gone == 1 else 'are'} gone, and the rows stay." if self.gone else ""
        return f"{self._parts() or 'nothing is new'}. {scored}{gone}"

    def _parts(self) -> str:
        parts = [counted(self.new, "new file")] if self.new else []
        parts += [counted(self.changed, "changed file")] if self.changed else []
        parts += [f"{counted(self.failed, 'file')} without a prediction"] if self.failed else []
        return ", ".join(parts)

    def warnings(self) -> list[str]:
        """Sentences on what is not scored now though it is new."""
        if not self.waiting:
            return []
        text = f"{counted(len(self.waiting), 'file')} changed in the last seconds and may be half written; left for the next time"
        return [f"{text}: {quoted(self.waiting, 3)}."]

    def nothing_new(self) -> NothingNew:
        """The error where there is nothing to score."""
        scored = f"{counted(self.kept, 'file')} {'is' if self.kept == 1 else 'are'} scored in {self.adds_to}"
        gone = f"{counted(self.gone, 'file')} {'is' if self.gone == 1 else 'are'} gone"
        marked = f"the rows stay in {self.adds_to}, marked as gone"
        if self.kept:
            text = f"Nothing is new in {self.dataset}: {scored}." + (f" {gone}: {marked}." if self.gone else "")
        elif self.gone:
            text = f"Nothing is new in {self.dataset}, and all that was scored is gone ({counted(self.gone, 'file')}): {marked}."
        else:
            text = f"Nothing can be scored of {self.dataset} yet."
        found = {name: value for name, value in asdict(self).items() if name != "unmarked"}
        return NothingNew(text, " ".join(self.warnings()), found)


# ---- runs judged by true labels -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunScore:
    """A run over a dataset, judged by true labels. `judged` rows have a prediction and a label; only they count. `accuracy` and `f1` (the
    mean over all classes, each counted alike) are of classes, from 0 to 1; `mae` and `rmse` of numbers; None where they don't apply.
    `column` is what was judged, "" where nothing was. `rows_judged` is the same for two runs of which the same rows were judged. `note`
    says why a run has no figures, or what they lack."""

    run: Run
    accuracy: float | None = None
    f1: float | None = None
    mae: float | None = None
    rmse: float | None = None
    judged: int = 0
    without_label: int = 0
    without_prediction: int = 0
    column: str = ""
    rows_judged: str = ""
    note: str = ""

    @property
    def model(self) -> str | None:
        """Its models; None of a run that has none registered."""
        return ", ".join(self.run.request.models) or None

    @property
    def seconds(self) -> float | None:
        """From its start to its end; None of a run that goes on, or never began."""
        return self.run.duration if self.run.status.ended else None

    @property
    def node_hours(self) -> float | None:
        """`seconds`, times the nodes that it asked for."""
        return None if self.seconds is None else self.seconds * self.run.request.settings.node_count / 3600


@dataclass(frozen=True)
class Leaderboard:
    """The runs over one version of a dataset, the best first, judged by `labels` (their id and their name, "" where there are none).
    `notes` are sentences on what makes the figures hard to compare."""

    dataset: str
    labels: str
    labels_name: str
    scores: tuple[RunScore, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LinkedRuns:
    """The runs that name a model, a dataset, an environment or an earlier run: the `newest` of `count`, the first one first. `models` and
    `datasets` are what its newest 2,000 runs name beside it, by reference, with how many of them do, the most frequent first; whether they
    are still there is not said."""

    newest: tuple[Run, ...]
    count: int
    models: Mapping[str, int] = field(default_factory=dict)
    datasets: Mapping[str, int] = field(default_factory=dict)
