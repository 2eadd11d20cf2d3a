"""Replay of one mini-batch: scored again by itself on this machine, beside its run; what it prints as it comes, then what it returned."""

from __future__ import annotations

from dataclasses import dataclass, field

import streamlit as st

from pages import _errors, _tables
from pages._background import Job
from pages._text import displayable, escape, truncate, visible
from services import formats
from services.domain import Run
from services.formats import counted
from services.run_details import MiniBatchDetail, PrintedLine, Replay, ReplayProgress
from services.workspace import Capability
from services.workspaces import chosen_workspace

_POLL_SECONDS = 0.5
_LONGEST_CELL = 200  # characters
_MOST_COLUMNS = 30
_MOST_PRINTED = 500  # lines shown


@dataclass
class _Replaying:
    """A replay of this session, under way or done."""

    run_id: str
    mini_batch: int
    progress: ReplayProgress = field(default_factory=ReplayProgress)
    job: Job[Replay] | None = None

    def start(self) -> None:
        workspace = chosen_workspace()

        def note(progress: ReplayProgress) -> None:
            self.progress = progress

        self.job = Job(lambda is_over: workspace.replay(self.run_id, self.mini_batch, stopped=is_over, progress=note))


def show(run: Run, mini_batch: int, place: str = "mini-batch") -> None:
    """The button, and the result. `place` is where on the page it is drawn."""
    state = f"replaying-{place}"
    replaying: _Replaying | None = st.session_state.get(state)
    if replaying and (replaying.run_id, replaying.mini_batch) != (run.id, mini_batch):
        if replaying.job:
            replaying.job.stop()
        replaying = st.session_state[state] = None
    can = Capability.REPLAY in chosen_workspace().capabilities and not run.imported_from
    why = (
        "Scores this mini-batch again by itself, with the script, settings and environment of the run. The run is not changed."
        if can
        else "The run was imported: its environment, model and files are not here."
        if run.imported_from
        else "Its environment, model and files are in Azure ML, not on this machine. Try first, on New run, scores some items here."
    )
    under_way = bool(replaying and replaying.job and not replaying.job.look())
    label = "Replay again" if replaying and not under_way else "Replay this mini-batch"
    if st.button(label, key=f"replay-{place}", icon=":material/replay:", help=why, disabled=under_way or not can):
        replaying = st.session_state[state] = _Replaying(run.id, mini_batch)
        replaying.start()
    if replaying and replaying.job:
        if replaying.job.look():
            _outcome(replaying.job)
        else:
            st.fragment(_wait, run_every=_POLL_SECONDS)(replaying, place)


def show_part(run: Run, detail: MiniBatchDetail) -> None:
    """In the panel of one mini-batch."""
    show(run, detail.number)


def _wait(replaying: _Replaying, place: str) -> None:
    job, progress = replaying.job, replaying.progress
    assert job
    if job.look():
        st.rerun()
    _changes(progress.changes)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Stop", key=f"stop-replay-{place}", icon=":material/stop_circle:", on_click=job.stop, disabled=job.stopping)
        doing = "stopping" if job.stopping else progress.stage
        text = doing if doing.endswith("()") else doing.capitalize()
        st.markdown(f":material/hourglass_top: {escape(text)}… {job.seconds:.0f} s")
    _printed(progress.printed, 0)


def _outcome(job: Job[Replay]) -> None:
    if job.error:
        _errors.show(job.error)
    elif job.result:
        _result(job.result)


def _changes(changes: tuple[str, ...]) -> None:
    if changes:
        st.warning("  \n".join(escape(truncate(change, 1_000)) for change in changes), icon=":material/difference:")


def _result(replay: Replay) -> None:
    _changes(replay.changes)
    if replay.error:
        st.error(escape(truncate(replay.error, 1_000)), icon=":material/error:")
        if replay.comparison:
            st.caption(escape(replay.comparison))
        if replay.traceback:
            st.code(displayable(replay.traceback), language=None, height=min(300, 56 + 22 * replay.traceback.count("\n")))
    elif not replay.succeeded and replay.returned is not None:
        missing = f"run() returned {counted(replay.returned, 'row')} for {counted(replay.items, replay.item)}."
        st.warning(escape(f"{missing} {replay.comparison}"), icon=":material/error:")
    elif replay.comparison:
        show_it = st.success if replay.same else st.warning if replay.same is False else st.info
        icon = ":material/check_circle:" if replay.same else ":material/difference:" if replay.same is False else ":material/info:"
        show_it(escape(replay.comparison), icon=icon)
    for cause in replay.causes if not replay.error else ():
        st.caption(escape(f"{counted(cause.count, replay.item)} failed: {truncate(cause.cause, 1_000)}"))
    st.caption(escape(" · ".join(f"{name} {text}" for name, text in replay.facts().items()) + f" · {replay.environment}"))
    if replay.differences:
        _differences(replay)
    if replay.rows and not replay.error:
        _rows(replay)
    for warning in replay.warnings:
        st.caption(f":material/warning: {escape(truncate(warning, 1_000))}")
    if replay.written:
        names = formats.listed([f"{name} ({formats.size(size)})" for name, size in replay.written], 5)
        st.caption(f":material/draft: Written to the output folder during the replay, then removed: {escape(names)}")
    _printed(replay.printed, replay.printed_left_out)


def _differences(replay: Replay) -> None:
    rows = [(difference.number, _cell(difference.run, "no row"), _cell(difference.replay, "no row")) for difference in replay.differences]
    which = f"The first {len(rows):,} rows that differ" if replay.different > len(rows) else "Rows that differ"
    st.caption(which)
    _tables.show({"Row": int, "In the run": str, "Now": str}, rows, which, most=6)


def _rows(replay: Replay) -> None:
    names = replay.predictions[:_MOST_COLUMNS]
    item = replay.item.capitalize()
    header = [item, *names, *(["Error"] if any(row.error for row in replay.rows) else [])]
    unique = [name if header.index(name) == place else f"{name} ({place})" for place, name in enumerate(header)]
    cells = [
        [
            row.item if row.row is None else f"{row.item}, row {row.row:,}",
            *(_cell(row.values.get(name)) for name in names),
            *([_cell(row.error)] if len(unique) > 1 + len(names) else []),
        ]
        for row in replay.rows
    ]
    _tables.show(dict.fromkeys(unique, str), cells, "Rows that it returned", most=8)
    if replay.returned and replay.returned > len(cells):
        st.caption(f"The first {len(cells):,} of {replay.returned:,} rows.")


def _cell(value: object, empty: str = "") -> str:
    return empty if value is None else visible(truncate(str(value), _LONGEST_CELL), lines=False)


def _printed(lines: tuple[PrintedLine, ...], left_out: int) -> None:
    if not lines:
        return
    shown = lines[-_MOST_PRINTED:]
    more = f"; {counted(left_out, 'line')} in between not kept" if left_out > 0 else ""
    st.caption(f"What it printed, by seconds since its worker started: {counted(len(lines), 'line')}{more}")
    text = "\n".join(f"{line.seconds:9.2f}  {line.stream:<6}  {line.text}" for line in shown)
    with st.container(height=min(320, 60 + 24 * len(shown)), border=False, autoscroll=True):
        st.code(displayable(visible(text)), language=None, wrap_lines=True)
