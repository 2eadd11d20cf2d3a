"""Run: the live board: how far it is, what its workers do, what is slow, what fails; and one mini-batch."""

from __future__ import annotations

import time

import streamlit as st

from pages import _errors, _layout, _run_charts, _run_failures, _run_logs, _run_replay, _tables, _workspace
from pages._text import displayable, escape, local_time, truncate, visible
from services import formats
from services.domain import Run, RunStatus, utc_now
from services.formats import counted
from services.run_details import MiniBatchDetail, RunActivity, WorkerState
from services.scoring.run_cost import is_tight
from services.workspaces import chosen_workspace

_READ_SECONDS = 0.25  # of a long journal, at each refresh
_QUIET_SECONDS = 10.0  # without the end of a mini-batch that are worth a word
_SHOWN_ITEMS = 200
_CAUSES = 5
_LONGEST_ROW = 300  # characters


def processed(run: Run) -> int:
    return (run.items_succeeded or 0) + (run.items_failed or 0)


def rate(run: Run) -> float | None:
    """Items per second: now, or over the whole run once it ended."""
    average = processed(run) / run.duration if run.duration and run.items_succeeded is not None else None
    value = average if run.status.ended else run.rate
    return None if value is None else round(value, 1 if value < 100 else None)


def time_left(run: Run) -> str | None:
    return None if run.seconds_left is None else formats.duration(run.seconds_left)


# ---- the tab of the browser ------------------------------------------------------------------------------------------------------------


def show_in_title(run: Run) -> None:
    """`42 % · name` while it runs, `Completed · name` once it has ended, in the title of the browser's tab."""
    words = {RunStatus.NOT_RESPONDING: "Not responding", RunStatus.NOT_STARTED: "Not started", RunStatus.CANCEL_REQUESTED: "Canceling"}
    state = words.get(run.status, str(run.status))
    if run.status is RunStatus.RUNNING and run.share_done is not None:
        state = f"{int(100 * run.share_done)} %"
    name = truncate(visible(displayable(" ".join(run.title.split())), lines=False), 80)
    st.set_page_config(page_title=f"{state} · {name}")


# ---- the figures at the top --------------------------------------------------------------------------------------------------------------


def figures(run: Run) -> None:
    item = _workspace.item_of(run)
    total, speed, counts_known = counted(run.items_total, item), rate(run), run.items_succeeded is not None
    batches = counted(run.mini_batches_total, "mini-batch")
    if counts_known or run.share_done is not None:
        share = run.share_done or 0.0
        count = f"{processed(run):,} of {total}" if counts_known else f"{run.mini_batches_done:,} of {batches}"
        st.progress(share, f"{count} · {int(share * 100)}%")
    duration = "–" if run.duration is None else formats.duration(run.duration)
    metrics = {
        "Succeeded": f"{run.items_succeeded:,}" if counts_known else "–",
        "Failed": f"{run.items_failed or 0:,}" if counts_known else "–",
        "Skipped" if run.status.ended else "Left": f"{run.items_left or 0:,}" if counts_known else "–",
        f"{item.capitalize()}s per second": "–" if speed is None else f"{speed:,}",
    } | ({"Duration": duration} if run.status.ended else {"Time left": time_left(run) or "–"})
    with st.grid(len(metrics), min_column_width=130):
        for label, figure in metrics.items():
            st.metric(label, figure, border=True)
    if counts_known:
        facts = [budget(run), *([f"{run.mini_batches_done or 0:,} of {batches} done"] if run.mini_batches_total is not None else [])]
    else:
        facts = [f"{total} in {batches}" if run.mini_batches_total else total]
    if not run.status.ended:
        facts += [counted(run.workers, "worker")] if counts_known else []
        if run.duration is not None:
            facts.append(f"{'running' if run.status is RunStatus.RUNNING else 'ran'} for {duration}")
        if run.heartbeat_age is not None and run.status is not RunStatus.QUEUED:
            age = "just now" if run.heartbeat_age < 2 else f"{formats.duration(run.heartbeat_age)} ago"
            facts.append(f"last sign of life {age}")
    st.caption(" · ".join(facts))
    if counts_known and run.request.settings.error_threshold > 0:
        _meter("Allowed failures used", run.items_failed or 0, run.request.settings.error_threshold)


def budget(run: Run) -> str:
    threshold, failed = run.request.settings.error_threshold, run.items_failed or 0
    if threshold < 0:
        return "Failures never stop this run"
    if threshold == 0:
        return f"The first failed {_workspace.item_of(run)} stops this run"
    return f"{failed:,} of {threshold:,} allowed failures used" if failed <= threshold else f"{failed:,} failed, {threshold:,} were allowed"


def budget_of_mini_batches(run: Run, activity: RunActivity) -> None:
    """Where the run's settings allow only so many failed mini-batches."""
    settings, failed, total = run.request.settings, activity.mini_batches_failed, run.mini_batches_total
    if failed is None:
        return
    if settings.allowed_failed_count:
        st.caption(f"{failed:,} of {settings.allowed_failed_count:,} allowed failed mini-batches")
        _meter("Allowed failed mini-batches used", failed, settings.allowed_failed_count)
    if settings.allowed_failed_percent and total:
        allowed = settings.allowed_failed_percent * total / 100
        st.caption(f"{100 * failed / total:.3g} % of the mini-batches failed, {settings.allowed_failed_percent:g} % are allowed to")
        _meter("Allowed percentage of failed mini-batches used", failed, allowed)


def _meter(label: str, used: float, allowed: float) -> None:
    """How much of an error budget is used: as a bar, which turns red as it comes to its end. Our own words and numbers only."""
    share = used / allowed
    dark = st.context.theme.type == "dark"
    light_and_dark = ("#c23b3b", "#f07f7f") if share > 0.8 else ("#c4661f", "#f0a265") if share > 0.5 else ("#2c8657", "#6cc493")
    text = f"{used:,.0f} of {round(allowed, 1):,.12g}"
    st.html(
        f'<div role="meter" aria-label="{label}" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{min(100, 100 * share):.0f}"'
        f' aria-valuetext="{text}" title="{text}" style="height:8px;border-radius:4px;background:{"#33404a" if dark else "#d5dfe3"};'
        f'overflow:hidden"><div style="height:100%;width:{min(100.0, 100 * share):.2f}%;background:{light_and_dark[dark]}"></div></div>'
    )


# ---- what its workers do ---------------------------------------------------------------------------------------------------------------


def activity_of(run: Run) -> RunActivity:
    """How it goes. A long journal is read a little at each refresh of an active run, and whole where nothing refreshes it."""
    told = chosen_workspace().runs.activity(run.id, _READ_SECONDS)
    if run.status.ended and told.share_read < 1:
        with st.spinner("Reading the run's journal…"):
            while told.share_read < 1:
                told = chosen_workspace().runs.activity(run.id, 4 * _READ_SECONDS)
    return told


def show_stall(run: Run, activity: RunActivity) -> None:
    """That nothing has ended for long, and what goes on meanwhile."""
    now = time.time()
    if run.status is not RunStatus.RUNNING or not activity.workers:
        return
    going_on = activity.overdue
    if not going_on:
        return
    name, call = going_on[0]
    quiet = now - max(activity.last_ended_at or 0.0, call.begin)  # not the time of init(), nor that before a resume
    usual = activity.slowest[0].seconds if activity.slowest else 0.0
    if quiet < max(_QUIET_SECONDS, 2 * usual):
        return
    more = f"; {counted(len(going_on) - 1, 'more call')} running" if len(going_on) > 1 else ""
    text = f"No mini-batch has ended for {formats.duration(quiet)}. {name} has been running mini-batch {call.mini_batch:,}"
    text += f" for {formats.duration(now - call.begin)}; its timeout is {activity.timeout:,} s{more}."
    st.warning(escape(text), icon=":material/hourglass_top:")


def show_activity(run: Run, activity: RunActivity) -> None:
    """The tab *Activity*: pictures of how it goes, the slowest mini-batches, the causes of failures, the last rows."""
    if activity.share_read < 1:
        st.caption(f"Reading the run's journal: {activity.share_read:.0%}")
    for sentence in activity.unknown:
        st.caption(escape(sentence))
    active, item = not run.status.ended and run.status is not RunStatus.NOT_RESPONDING, _workspace.item_of(run)
    budget_of_mini_batches(run, activity)
    if not activity.workers:
        if not activity.unknown:
            st.caption("No worker has started yet." if active else "No worker was started.")
        return
    if activity.pace:
        _run_charts.pace(activity, item, active=active)
    else:
        st.caption(_before_the_first(activity) if active else "No mini-batch finished.")
    replaced = sum(worker.processes - 1 for worker in activity.workers)
    _run_charts.timeline(activity, open_mini_batch)
    notes = [f"Worker processes replaced: {replaced:,}"] if replaced else []
    st.caption(" · ".join([*notes, "Click a call of run() to open its mini-batch", "the stronger its color, the busier the worker"]))
    with st.container(key="board_columns"):
        left, right = st.columns(2, gap="medium")
        with left:
            _slowest(run, activity)
        if any(worker.memory for worker in activity.workers):
            with right:
                _run_charts.memory(activity)
    _causes(run)
    _last_rows(activity)


def _before_the_first(activity: RunActivity) -> str:
    steps = {span.state for worker in activity.workers for span in worker.spans if span.going_on}
    if WorkerState.RUN in steps:
        return "The first mini-batches are running."
    if WorkerState.INIT in steps:
        return "Workers are in init()."
    return "Workers are starting and importing the scoring script." if WorkerState.IMPORT in steps else "Nothing has finished yet."


def _slowest(run: Run, activity: RunActivity) -> None:
    st.markdown("**Slowest mini-batches**")
    if not activity.slowest:
        st.caption("None has finished yet.")
        return
    limit, suggestion, slowest = activity.timeout, activity.suggested_timeout, activity.slowest[0]
    words = f"Timeout of a call: {limit:,} s"
    if suggestion and is_tight(slowest.seconds, limit):
        words += f", which the slowest call comes near. Suggested: {suggestion:,} s"
    elif suggestion and suggestion < limit:
        words += f". Suggested from the slowest call: {suggestion:,} s"
    else:
        words += ", which suits the slowest call"
    st.caption(words)
    columns = {"Mini-batch": int, "In run()": str, "Of the timeout": float, "Items": int, "Worker": str, "Attempt": int, "Result": str}
    rows = [
        (
            each.mini_batch, formats.short_duration(each.seconds), min(1.0, each.seconds / max(1, limit)), each.items, each.worker,
            each.attempt, each.status.removeprefix("RUN_").replace("_", " ").lower(),
        )
        for each in activity.slowest
    ]  # fmt: skip
    table = _tables.arrow(columns, rows)
    column = st.column_config
    config = _tables.number_columns(table) | {
        "Of the timeout": column.ProgressColumn(format="percent", min_value=0, max_value=1, width=110),
        "In run()": column.TextColumn(width=80),
    }
    key = f"paged-slowest-{st.session_state.get('opened_mini_batches', 0)}"

    def opened() -> None:
        if (rows := st.session_state[key].selection.rows) and rows[0] < len(activity.slowest):
            open_mini_batch(activity.slowest[rows[0]].mini_batch)

    st.dataframe(
        table, key=key, on_select=opened, selection_mode="single-row", hide_index=True, alt="The slowest mini-batches",
        height=_tables.height(len(rows), 6), column_config=config,
    )  # fmt: skip


def _causes(run: Run) -> None:
    if not run.items_failed or not (causes := _run_failures.causes_of(run)):
        return
    st.markdown("**Causes of failures**" if run.status.ended else "**Causes of failures so far**")
    item = f"{_workspace.item_of(run).capitalize()}s"
    rows = [(cause.count, cause.share, visible(truncate(cause.cause, 500), lines=False)) for cause in causes[:_CAUSES]]
    table = _tables.arrow({item: int, "Share": float, "Cause": str}, rows)
    config = _tables.number_columns(table, [item]) | {
        "Share": st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1, width=110)
    }
    st.dataframe(table, lazy=False, hide_index=True, alt="Causes of failures", column_config=config)
    more = f"{counted(len(causes) - _CAUSES, 'more cause')}, and " if len(causes) > _CAUSES else ""
    st.caption(f"{more[:1].upper()}{more[1:]}{'the' if more else 'The'} failed {item.lower()} themselves are under Failures.")


def _last_rows(activity: RunActivity) -> None:
    if activity.last_rows:
        st.markdown("**Last rows**")
        lines = [truncate(visible(row, lines=False), _LONGEST_ROW) for row in activity.last_rows]
        st.code(displayable("\n".join(lines)), language=None)


# ---- one mini-batch ----------------------------------------------------------------------------------------------------------------------


def open_mini_batch(number: int) -> None:
    """Have the page open it. For callbacks."""
    st.session_state.opened_mini_batches = st.session_state.get("opened_mini_batches", 0) + 1  # so that no table or chart keeps its choice
    st.session_state.mini_batch_to_open = number


def show_dialog(run: Run, number: int) -> None:
    """The mini-batch over the page; the URL has it until it is closed."""

    def closed() -> None:
        st.query_params.pop("mini_batch", None)

    @st.dialog(f"Mini-batch {number:,}", width="large", on_dismiss=closed)
    def dialog() -> None:
        with _errors.shown():
            show_mini_batch(run, number)

    dialog()


def show_mini_batch(run: Run, number: int) -> None:
    """Its attempts with their errors, its items, its replay and its lines in the logs. Raises NotFound."""
    run = chosen_workspace().runs.get(run.id)
    as_of = f"{run.ended_at}" if run.status.ended else f"{time.monotonic() // 2}"
    detail = _detail(run.id, number, as_of)
    noun = detail.item
    count = "an unknown number of items" if detail.item_count is None else counted(detail.item_count, noun)
    st.caption(escape(f"{count} of {detail.dataset} · {run.title}"))
    if detail.running_on and detail.running_since:
        seconds = (utc_now() - detail.running_since).total_seconds()
        st.info(escape(f"Running on {detail.running_on} for {formats.duration(seconds)}."), icon=":material/autorenew:")
    elif not detail.attempts:
        st.info("It has not been tried." if run.status.ended else "It has not been tried yet.", icon=":material/schedule:")
    for attempt in reversed(detail.attempts):
        result = attempt.status.removeprefix("RUN_").replace("_", " ").capitalize() or "Done"
        facts = {"Attempt": f"{attempt.attempt:,}", "Result": result, "Worker": attempt.worker or "not known"}
        if attempt.run_seconds is not None:
            facts["In run()"] = formats.short_duration(attempt.run_seconds)
        if attempt.seconds is not None:
            facts["Total"] = formats.short_duration(attempt.seconds)
        if attempt.started_at:
            facts["Started"] = local_time(attempt.started_at)
        facts["Without a row"] = f"{attempt.failed:,}"
        if attempt.failed and not attempt.final:
            facts["Then"] = "tried again"
        with st.container(border=True):
            _layout.facts(facts)
            if attempt.error:
                first, _, rest = attempt.error.partition("\n")
                st.error(escape(truncate(first, 1_000)), icon=":material/error:")
                _run_failures.traceback(rest, most=300)
            elif attempt.failed:
                st.caption(f"run() returned no row for {counted(attempt.failed, noun)}.")
    if detail.items:
        shown = [visible(name, lines=False) for name in detail.items[:_SHOWN_ITEMS]]
        more = f", the first {len(shown):,}" if (detail.item_count or 0) > len(shown) and noun == "file" else ""
        st.caption(f"Its {noun}s{more}")
        st.code(displayable("\n".join(shown)), language=None, height=200 if len(shown) > 7 else "content")
    _run_replay.show_part(run, detail)
    _run_logs.show_part(run, detail)


@st.cache_data(ttl=600, max_entries=50, show_spinner=False)
def _detail(run_id: str, number: int, as_of: str) -> MiniBatchDetail:
    """Kept: in a run of a million mini-batches finding one takes a tenth of a second."""
    return chosen_workspace().runs.mini_batch(run_id, number)
