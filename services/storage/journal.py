"""A run's journal: every attempt at a mini-batch and how it ended. A killed run is resumed from it.

One SQLite file in the run's folder, appended to by the run's own process only, one commit for each of its wake-ups. The rows of a
mini-batch are in the output file before its attempt is committed here; on resume the output is cut back to the last `end` noted, so
rows are there exactly once.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, NamedTuple

from services.errors import WorkspaceUnavailable
from services.storage.sqlite import connect, connect_readable


class AttemptStatus(StrEnum):
    """How an attempt ended, in the words of Azure's processed_mini-batches.csv."""

    RUN_DONE = "RUN_DONE"
    RUN_EXCEPTION = "RUN_EXCEPTION"
    RUN_TIMEOUT = "RUN_TIMEOUT"
    PROCESS_DIED = "PROCESS_DIED"


class Attempt(NamedTuple):
    """One attempt at a mini-batch.

    `final` attempts settle their mini-batch: a success, or the last try. `[begin, end)` are the bytes of its rows in the output file and
    `row_ends` says where each row ends, as little-endian uint64 from `begin` (a row may hold a newline). `columns` is the id of the
    DataFrame columns it returned, or None. `started_at` is seconds since 1970, `elapsed` and `run_seconds` are seconds in all and in run().
    """

    mini_batch: int
    attempt: int
    node: int
    process: int
    started_at: float
    elapsed: float
    run_seconds: float
    total: int
    succeeded: int
    failed: int
    status: str
    final: bool
    begin: int
    end: int
    row_ends: bytes = b""
    columns: int | None = None
    error_type: str = ""
    error: str = ""

    def row_slices(self) -> Iterator[tuple[int, int]]:
        """Where each row lies in the output file: (first byte, byte after the last, its newline included)."""
        ends = array("Q")
        ends.frombytes(self.row_ends)
        begin = self.begin
        for end in ends:
            yield begin, self.begin + end
            begin = self.begin + end


class Said(NamedTuple):
    """What the script said during an attempt that left items without a row: `lines` are pairs (source, text), see predictions/causes.py."""

    mini_batch: int
    attempt: int
    lines: Sequence[Sequence[str]]


NO_MINI_BATCH = -1
"""Of what was printed outside of run(): while the script was imported, in init() and in shutdown()."""


class Printed(NamedTuple):
    """Where in the files of a worker's stdout and stderr, as bytes, that is which was printed during an attempt at a mini-batch.

    A worker's files may be cut back when they grow too long: what then begins where earlier output was took its place.
    """

    node: int
    process: int
    started_at: float
    mini_batch: int
    elapsed: float
    stdout_begin: int
    stdout_end: int
    stderr_begin: int
    stderr_end: int


class WorkerLife(NamedTuple):
    """One process of a worker: when it was started, had imported the script and had called init(), and when and why it ended; seconds since
    1970, None for what has not come yet. A process that took another's place has the same node and process numbers."""

    id: int
    node: int
    process: int
    pid: int
    started_at: float
    imported_at: float | None = None
    ready_at: float | None = None
    ended_at: float | None = None
    reason: str = ""


class WorkerNow(NamedTuple):
    """What a worker was doing at `at`: the stage it is in and, in run(), the mini-batch; both since `since`. The latter is None where it
    waits for one."""

    node: int
    process: int
    stage: str
    mini_batch: int | None
    since: float
    at: float


class MemorySample(NamedTuple):
    """Bytes in memory of a worker and of what it started."""

    tick: int
    node: int
    process: int
    at: float
    bytes: int


class AttemptsOfABucket(NamedTuple):
    """Sums over the attempts of one worker that began within one bucket of time: how many, how many of them left items without a row,
    seconds in all, the items and the mini-batches that they settled; and the slowest of them."""

    node: int
    process: int
    bucket: int
    attempts: int
    failed_attempts: int
    seconds: float
    succeeded: int
    failed: int
    mini_batches_failed: int
    slowest: int
    slowest_seconds: float


class TimedAttempt(NamedTuple):
    """An attempt without its rows and its error. `succeeded` and `failed` are the items that it settled."""

    node: int
    process: int
    started_at: float
    elapsed: float
    run_seconds: float
    mini_batch: int
    attempt: int
    total: int
    status: str
    any_failed: bool
    succeeded: int
    failed: int
    mini_batch_failed: bool


_COLUMNS = ", ".join(f'"{name}"' for name in Attempt._fields)
_LIFE_COLUMNS = ", ".join(WorkerLife._fields[1:])
# The tables come in one commit before anything else, so that a reader who finds a file that isn't empty finds them.
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS attempts (seq INTEGER PRIMARY KEY, {_COLUMNS});
CREATE INDEX IF NOT EXISTS failed_attempts ON attempts (seq) WHERE status <> 'RUN_DONE';
CREATE TABLE IF NOT EXISTS columns (id INTEGER PRIMARY KEY, value TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS said (mini_batch INTEGER, attempt INTEGER, lines BLOB, PRIMARY KEY (mini_batch, attempt)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS said_of_succeeded (template TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS printed ({", ".join(Printed._fields)}, PRIMARY KEY (node, process, started_at, mini_batch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS frame_indexes (mini_batch INTEGER PRIMARY KEY, "begin" INTEGER, value TEXT);
CREATE TABLE IF NOT EXISTS worker_lives (id INTEGER PRIMARY KEY, {_LIFE_COLUMNS});
CREATE TABLE IF NOT EXISTS workers_now (node INTEGER, process INTEGER, stage TEXT, mini_batch INTEGER, since REAL, at REAL,
                                        PRIMARY KEY (node, process)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS worker_memory (tick INTEGER, node INTEGER, process INTEGER, at REAL, bytes INTEGER,
                                          PRIMARY KEY (tick, node, process)) WITHOUT ROWID;
COMMIT;
PRAGMA journal_mode=WAL;
"""
_AT_A_TIME, _AN_ATTEMPT = 1 << 17, 64  # bytes: of the attempts that are read together, of one without its rows and its error
_SELECT = f"SELECT {_COLUMNS} FROM attempts"
_REPORT = """
SELECT mini_batch, attempt, printf('%d/process%03d', node, process), strftime('%Y-%m-%dT%H:%M:%f+00:00', started_at, 'unixepoch'), total,
       succeeded, failed, printf('%.6f', elapsed), printf('%.6f', run_seconds), status, error_type,
       substr(error, 1, instr(error || char(10), char(10)) - 1)
FROM attempts ORDER BY seq
"""
_INSERT_PRINTED = f"INSERT OR REPLACE INTO printed VALUES ({', '.join('?' * len(Printed._fields))})"
# These two read no further than `end` of an attempt: what follows may be long, and lies on pages of its own.
_BUCKETS = """
SELECT node, process, max(0, cast((started_at - ?1) / ?2 AS INTEGER)), count(*), sum(failed > 0), sum(elapsed),
       sum(succeeded * "final"), sum(failed * "final"), sum("final" AND status <> 'RUN_DONE'), mini_batch, max(run_seconds)
FROM attempts WHERE seq > ?3 AND seq <= ?4 AND elapsed < ?2 GROUP BY 1, 2, 3
"""
_FAILED_ONES = """
SELECT node, process, max(0, cast((started_at - ?1) / ?2 AS INTEGER)), max(mini_batch)
FROM attempts WHERE seq > ?3 AND seq <= ?4 AND elapsed < ?2 AND failed > 0 GROUP BY 1, 2, 3
"""
_TIMED = """
SELECT node, process, started_at, elapsed, run_seconds, mini_batch, attempt, total, status, failed > 0, succeeded * "final",
       failed * "final", "final" AND status <> 'RUN_DONE'
FROM attempts WHERE seq > ? AND seq <= ?
"""
_LATEST_LIVES = 3_000
_INSERT = f"INSERT INTO attempts ({_COLUMNS}) VALUES ({', '.join('?' * len(Attempt._fields))})"


@dataclass
class Totals:
    """Sums over the settled mini-batches."""

    mini_batches_done: int = 0
    mini_batches_failed: int = 0
    items_succeeded: int = 0
    items_failed: int = 0
    output_end: int = 0


class Journal:
    """The journal in a run's folder. One process writes (`writable`), any number read meanwhile."""

    def __init__(self, run_folder: Path, *, writable: bool = False) -> None:
        self.path = run_folder / "journal.db"
        try:
            self._connection = connect(self.path) if writable else connect_readable(self.path)
            if writable:
                self._connection.executescript(_SCHEMA + "PRAGMA synchronous=NORMAL;")
        except sqlite3.Error as error:
            raise WorkspaceUnavailable(f"The run's journal, {self.path}, can't be opened: {error}.") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def add(
        self,
        attempts: Iterable[Attempt],
        said: Sequence[Said] = (),
        said_of_succeeded: Sequence[str] = (),
        frame_indexes: Sequence[tuple[int, int, str]] = (),
        printed: Sequence[Printed] = (),
    ) -> int:
        """Append attempts in one commit, with what was said during them, the templates that were said of items that succeeded, and the
        indexes of the DataFrames that were returned, where these hold texts: of each the mini-batch, the first byte of its rows, and JSON
        of its levels; and where in the logs is what was printed. Returns the bytes that the lines take."""
        packed = [(line.mini_batch, line.attempt, zlib.compress(json.dumps(line.lines).encode("ascii"), 1)) for line in said]
        with self._transaction():
            self._connection.executemany(_INSERT, attempts)
            if packed:
                self._connection.executemany("INSERT OR REPLACE INTO said VALUES (?, ?, ?)", packed)
            if said_of_succeeded:
                self._connection.executemany("INSERT OR IGNORE INTO said_of_succeeded VALUES (?)", [(text,) for text in said_of_succeeded])
            if frame_indexes:
                self._connection.executemany("INSERT OR REPLACE INTO frame_indexes VALUES (?, ?, ?)", frame_indexes)
            if printed:
                self._connection.executemany(_INSERT_PRINTED, printed)
        return sum(len(lines) for _, _, lines in packed)

    # ---- workers, and what is to be seen of them ---------------------------------------------------------------------------------

    def begin_runner(self) -> int:
        """To be called by each runner before its first attempt. Returns the id of its first worker. What its predecessor, which was killed,
        left open is closed: its workers ended when it was last seen."""
        number = self.runner_number() + 1
        with self._transaction():
            last_seen = self._connection.execute("SELECT max(at) FROM workers_now").fetchone()[0]
            query = "UPDATE worker_lives SET ended_at = coalesce(?, ready_at, imported_at, started_at), reason = ? WHERE ended_at IS NULL"
            self._connection.execute(query, (last_seen, "its runner was ended"))
            self._connection.execute("DELETE FROM workers_now")
            self._connection.execute(f"PRAGMA user_version = {number}")
        first_id: int = self._connection.execute("SELECT coalesce(max(id), 0) + 1 FROM worker_lives").fetchone()[0]
        return first_id

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
        except BaseException:  # it is raised again
            self._connection.rollback()
            raise
        self._connection.execute("COMMIT")

    def runner_number(self) -> int:
        """How many runners have begun: a new one may have unsettled what was read before."""
        number: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        return number

    def note_workers(self, lives: Iterable[WorkerLife], now: Sequence[WorkerNow], memory: Sequence[MemorySample]) -> None:
        """In one commit: the processes that began or went on, what each worker is doing, their memory."""
        marks = ", ".join("?" * len(WorkerLife._fields))
        with self._transaction():
            self._connection.executemany(f"INSERT OR REPLACE INTO worker_lives VALUES ({marks})", lives)
            self._connection.execute("DELETE FROM workers_now")
            self._connection.executemany("INSERT INTO workers_now VALUES (?, ?, ?, ?, ?, ?)", now)
            if memory:
                self._connection.executemany("INSERT OR REPLACE INTO worker_memory VALUES (?, ?, ?, ?, ?)", memory)

    def thin_memory(self, period: int) -> None:
        """Keep the samples of every `period`th tick."""
        self._connection.execute("DELETE FROM worker_memory WHERE tick % ?", (period,))

    def last_tick(self) -> int:
        """Of the samples of memory; 0 where there are none."""
        tick: int | None = self._connection.execute("SELECT max(tick) FROM worker_memory").fetchone()[0]
        return tick or 0

    def worker_lives(self) -> list[WorkerLife]:
        """The latest processes, in the order they were started; none in a journal of an earlier version."""
        condition = f"WHERE id > (SELECT max(id) FROM worker_lives) - {_LATEST_LIVES} ORDER BY id"
        return [WorkerLife(*row) for row in self._rows_of("worker_lives", f"id, {_LIFE_COLUMNS}", condition)]

    def workers_now(self) -> list[WorkerNow]:
        """What the workers are doing, or were when a killed runner was last seen."""
        return [WorkerNow(*row) for row in self._rows_of("workers_now", "*")]

    def memory(self, most: int) -> list[MemorySample]:
        """The samples of the workers' memory in the order of time, evenly left out to be about `most`."""
        counts = next(self._rows_of("worker_memory", "count(*), count(DISTINCT tick), min(tick), max(tick)"), None)
        if not counts or not counts[0]:
            return []
        count, ticks, first, last = counts
        period = max(1, (last - first) // max(1, ticks - 1)) * -(-count // most)
        condition = f"WHERE tick % {period} = 0 OR tick = {last} ORDER BY tick"
        return [MemorySample(*row) for row in self._rows_of("worker_memory", "*", condition)]

    def first_attempt_at(self) -> float | None:
        """When the attempt began that ended first."""
        row = self._connection.execute("SELECT started_at FROM attempts ORDER BY seq LIMIT 1").fetchone()
        return None if row is None else float(row[0])

    def latest_attempt_ended_at(self) -> float | None:
        """When the attempt ended that was added last."""
        row = self._connection.execute("SELECT started_at + elapsed FROM attempts ORDER BY seq DESC LIMIT 1").fetchone()
        return None if row is None else float(row[0])

    def in_buckets(self, begin: float, width: float, after: int, last: int) -> Iterator[AttemptsOfABucket]:
        """The attempts with seq in (after, last] that took less than `width` seconds, by worker and by bucket of time: bucket `n` is from
        `begin + n * width` on."""
        return map(AttemptsOfABucket._make, self._connection.execute(_BUCKETS, (begin, width, after, last)))

    def failed_in_buckets(self, begin: float, width: float, after: int, last: int) -> Iterator[tuple[int, int, int, int]]:
        """Of each of these buckets in which an attempt left items without a row: node, process, bucket, one such mini-batch."""
        return self._connection.execute(_FAILED_ONES, (begin, width, after, last))

    def timed(self, after: int, last: int, *, least_elapsed: float = 0.0) -> Iterator[TimedAttempt]:
        """The attempts with seq in (after, last] that took so many seconds at least."""
        return map(TimedAttempt._make, self._connection.execute(f"{_TIMED} AND elapsed >= ?", (after, last, least_elapsed)))

    def slowest(self, after: int, last: int, count: int, than: float) -> list[TimedAttempt]:
        """The `count` attempts with seq in (after, last] whose run() took longest, and longer `than`; the longest first."""
        query = f"{_TIMED} AND run_seconds > ? ORDER BY run_seconds DESC LIMIT ?"
        return [TimedAttempt(*row) for row in self._connection.execute(query, (after, last, than, count))]

    def copy_to(self, run_folder: Path) -> None:
        """Write a copy of the journal into another run's folder. Raises sqlite3.Error."""
        with closing(connect(run_folder / self.path.name)) as copy:
            self._connection.backup(copy)

    def forget_after(self, end: int) -> None:
        """Unsettle the mini-batches whose rows lie beyond byte `end` of the output, so that they are scored again."""
        self._connection.execute('DELETE FROM said WHERE mini_batch IN (SELECT mini_batch FROM attempts WHERE "end" > ?)', (end,))
        self._connection.execute('DELETE FROM attempts WHERE "end" > ?', (end,))

    def reopen_failed(self) -> None:
        """Unsettle the mini-batches that failed, so that they are tried again; their attempts stay in the journal."""
        self._connection.execute("""UPDATE attempts SET "final" = 0 WHERE "final" AND status <> 'RUN_DONE'""")

    def last_seq(self) -> int:
        """Grows with every attempt added: what was made from the journal is current while it stays the same."""
        seq: int | None = self._connection.execute("SELECT max(seq) FROM attempts").fetchone()[0]
        return seq or 0

    def columns_id(self, value: str) -> int:
        """The id under which these DataFrame columns and types (JSON) are kept."""
        self._connection.execute("INSERT OR IGNORE INTO columns (value) VALUES (?)", (value,))
        columns_id: int = self._connection.execute("SELECT id FROM columns WHERE value = ?", (value,)).fetchone()[0]
        return columns_id

    def columns(self) -> dict[int, str]:
        """DataFrame columns and types (JSON) by id."""
        return dict(self._connection.execute("SELECT id, value FROM columns"))

    def frame_index(self, attempt: Attempt) -> str:
        """JSON of the index of the DataFrame that this attempt returned: [[name, values], ...] of its levels; "" where it held no texts."""
        try:
            query = 'SELECT value FROM frame_indexes WHERE mini_batch = ? AND "begin" = ?'
            value: tuple[str] | None = self._connection.execute(query, (attempt.mini_batch, attempt.begin)).fetchone()
        except sqlite3.OperationalError:  # an earlier version's journal
            return ""
        return value[0] if value else ""

    def attempts(self, *, final_only: bool = False, failed_only: bool = False, order: str = "seq") -> Iterator[Attempt]:
        """Attempts, in the order they ended (`seq`) or of their mini-batches (`mini_batch`); just those that settle their mini-batch, or
        left items of it without a row."""
        assert order in ("seq", "mini_batch")
        conditions = ['"final"'] * final_only + ["failed > 0"] * failed_only
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        if order == "seq":
            for row in self._connection.execute(f"{_SELECT}{where} ORDER BY seq"):
                yield Attempt(*row)
            return
        # Only the numbers are sorted: the rows hold every row's end, and SQLite would carry these along.
        bytes_of_one = f"length(row_ends) + length(error) + {_AN_ATTEMPT}"
        sizes = self._connection.execute(f"SELECT seq, {bytes_of_one} FROM attempts{where} ORDER BY mini_batch, seq").fetchall()
        so_far = accumulate(size for _, size in sizes)
        for _, several in groupby(zip(sizes, so_far, strict=True), lambda row: row[1] // _AT_A_TIME):
            numbers = [seq for (seq, _), _ in several]
            query = f"SELECT seq, {_COLUMNS} FROM attempts WHERE seq IN ({', '.join(map(str, numbers))})"
            attempts = {seq: Attempt(*row) for seq, *row in self._connection.execute(query)}
            yield from (attempts[seq] for seq in numbers if seq in attempts)

    def said(self) -> Iterator[Said]:
        """What was said during attempts that left items without a row, in the order of mini-batches and attempts."""
        for mini_batch, attempt, lines in self._rows_of("said", "mini_batch, attempt, lines", "ORDER BY mini_batch, attempt"):
            yield Said(mini_batch, attempt, json.loads(zlib.decompress(lines)))

    def said_of_succeeded(self) -> frozenset[str]:
        """The templates of lines that were said of items that succeeded."""
        return frozenset(template for (template,) in self._rows_of("said_of_succeeded", "template"))

    def any_succeeded(self) -> bool:
        """Whether any item did."""
        return self._connection.execute('SELECT 1 FROM attempts WHERE "final" AND succeeded > 0 LIMIT 1').fetchone() is not None

    def printed_before(self, node: int, process: int, kind: str, place: int) -> Iterator[Printed]:
        """Where in the logs is what one worker printed, the latest first, without what begins after this place of its stdout or stderr."""
        assert kind in ("stdout", "stderr")
        begins = f"({kind}_begin <= {int(place)} OR {kind}_begin > {kind}_end)"
        rest = f"WHERE node = {int(node)} AND process = {int(process)} AND {begins} ORDER BY started_at DESC, mini_batch DESC"
        for row in self._rows_of("printed", ", ".join(Printed._fields), rest):
            yield Printed(*row)

    def printed(self, *, node: int | None = None, process: int | None = None, mini_batch: int | None = None) -> Iterator[Printed]:
        """The same by worker and time: of all workers or one, during all mini-batches or one. None of an earlier version's journal."""
        given = {"node": node, "process": process, "mini_batch": mini_batch}
        conditions = [f"{name} = {int(value)}" for name, value in given.items() if value is not None]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        for row in self._rows_of("printed", ", ".join(Printed._fields), f"{where} ORDER BY node, process, started_at"):
            yield Printed(*row)

    def _rows_of(self, table: str, columns: str, rest: str = "") -> Iterator[tuple[Any, ...]]:
        """Of a table that a journal of an earlier version doesn't have."""
        if self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
            for row in self._connection.execute(f"SELECT {columns} FROM {table} {rest}"):  # noqa: UP028 - it may be left half-way
                yield row

    def attempts_at(self, mini_batch: int) -> list[Attempt]:
        """At one mini-batch, the first one first."""
        return [Attempt(*row) for row in self._connection.execute(f"{_SELECT} WHERE mini_batch = ? ORDER BY seq", (mini_batch,))]

    def times_of(self, node: int, process: int) -> Iterator[tuple[int, float, float]]:
        """Of the attempts of one worker the mini-batch, when they began, and their seconds; the latest first."""
        query = "SELECT mini_batch, started_at, elapsed FROM attempts WHERE node = ? AND process = ? ORDER BY seq DESC"
        return self._connection.execute(query, (node, process))

    def latest_errors(self, after: int, mini_batch: int | None = None) -> Iterator[tuple[int, Attempt]]:
        """Attempts that failed with an error, with their numbers, which are above `after`; the latest first."""
        condition = "" if mini_batch is None else f" AND mini_batch = {int(mini_batch)}"
        query = f"SELECT seq, {_COLUMNS} FROM attempts WHERE seq > ? AND status <> 'RUN_DONE'{condition} ORDER BY seq DESC"
        for seq, *row in self._connection.execute(query, (after,)):
            yield seq, Attempt(*row)

    def report(self) -> Iterator[tuple[object, ...]]:
        """Attempts in the order they ended, as processed_mini-batches.csv has them; made by SQLite, at a fifth of the time."""
        return self._connection.execute(_REPORT)

    def failures(self, limit: int = 100) -> list[Attempt]:
        """The latest attempts that failed, or that returned fewer rows than items; the latest first."""
        rows = self._connection.execute(f"{_SELECT} WHERE status <> 'RUN_DONE' OR failed > 0 ORDER BY seq DESC LIMIT ?", (limit,))
        return [Attempt(*row) for row in rows]

    def settled(self) -> bytearray:
        """A flag for each mini-batch up to the last settled one: 1 where nothing more is to be done."""
        flags = bytearray()
        for (index,) in self._connection.execute('SELECT mini_batch FROM attempts WHERE "final" ORDER BY mini_batch'):
            flags.extend(bytes(index + 1 - len(flags)))
            flags[index] = 1
        return flags

    def tries(self) -> dict[int, int]:
        """How many attempts each mini-batch that isn't settled has had."""
        query = 'SELECT mini_batch, count(*) FROM attempts GROUP BY mini_batch HAVING NOT max("final")'
        return dict(self._connection.execute(query))

    def totals(self) -> Totals:
        row = self._connection.execute(
            "SELECT count(DISTINCT mini_batch), sum(status <> 'RUN_DONE'), sum(succeeded), sum(failed),"
            ' (SELECT max("end") FROM attempts) FROM attempts WHERE "final"'
        ).fetchone()
        return Totals(*(value or 0 for value in row))
