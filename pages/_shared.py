"""What pages share: the open workspace, errors shown once and at their fields, foreign text shown as text, tables, words for values."""

from __future__ import annotations

import io
import json
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from services.domain import Dataset, EntryScript, Model, Run, RunStatus, utc_now
from services.errors import EntryScriptError, SettingsError, StudioError, WorkspaceUnavailable
from services.workspace import Workspace
from services.workspaces import chosen_workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from services.predictions.reader import Predictions

logger = logging.getLogger(__name__)

_Versioned = TypeVar("_Versioned", Model, Dataset)

BADGES = {
    RunStatus.NOT_STARTED: ("gray", ":material/schedule:"),
    RunStatus.QUEUED: ("gray", ":material/schedule:"),
    RunStatus.RUNNING: ("blue", ":material/autorenew:"),
    RunStatus.CANCEL_REQUESTED: ("orange", ":material/autorenew:"),
    RunStatus.COMPLETED: ("green", ":material/check_circle:"),
    RunStatus.FAILED: ("red", ":material/error:"),
    RunStatus.CANCELED: ("gray", ":material/cancel:"),
    RunStatus.NOT_RESPONDING: ("orange", ":material/heart_broken:"),
}


def workspace() -> Workspace:
    """The workspace this dashboard works in. Opening the local one takes a millisecond, so it is not kept; nothing here asks a network."""
    return chosen_workspace()


def forget_choices() -> None:
    """What was chosen in one workspace means nothing in another."""
    for name in ("model", "dataset", "script", "environment", "compute_target", "submission", "pipeline_lists", "where"):
        st.session_state.pop(name, None)
    st.query_params.clear()


def table_beside(run_id: str, beside: str) -> Predictions:
    """A run's table of predictions; with true labels (`labels:ID`, `labels:ID:COLUMN`) or another run's predictions (`run:ID`,
    `run:ID:COLUMN`) beside them, where asked."""
    opened = workspace()
    table = opened.runs.predictions(run_id)
    what, id_, of = (*beside.split(":", 2), "", "")[:3]
    if what not in ("labels", "run"):
        return table
    from services.predictions.open_tables import open_predictions

    if what == "labels":
        from services.predictions import evaluation, label_file

        return open_predictions(evaluation.evaluate(table, label_file.labels_of(table.path.parent, id_), of).path)
    from services.predictions import comparison

    return open_predictions(comparison.compare(opened.runs.predictions(id_), table, id_, of).path)


def known_later() -> bool:
    """Whether the lists of this workspace, which is elsewhere, never came so far. Says so, for a page that has nothing to show."""
    remote = workspace().remote
    if remote is None or (state := remote.state()).listed_at:
        return False
    if state.opening or state.listing:
        st.info("What is in this workspace is being asked for.", icon=":material/hourglass_top:")
    else:
        st.info("What is in this workspace is known once you are signed in.", icon=":material/lock:")
        st.page_link("connection.py", label="Connection", icon=":material/arrow_forward:")
    return True


def latest_versions(things: Iterable[_Versioned]) -> list[_Versioned]:
    """The highest version of each name; the names in the order in which they come first."""
    latest: dict[str, _Versioned] = {}
    for thing in things:
        latest[thing.name] = max(thing, latest.get(thing.name, thing), key=lambda each: each.version)
    return list(latest.values())


def item_of(run: Run) -> str:
    """What one item of this run is: a file, or a row of a tabular dataset. By what is known here: a board asks no service for it."""
    scored = run.request.datasets[0]
    return next((dataset.item for dataset in workspace().datasets() if dataset.reference == scored), "item")


def open_new_run(**chosen: str) -> None:
    """Go to the New run page with these chosen: `model`, `dataset`, `script`. Not by its URL: a page may not set what it has bound."""
    st.session_state.chosen_for_new_run = chosen
    st.switch_page("new_run.py", query_params={})


def script_label(script: EntryScript) -> str:
    """How a scoring script is offered, and named in the URL. Uploaded ones of one name are told apart by their content."""
    return script.name if script.origin == "built-in" else f"{script.name} · {script.sha256[:8]}"


def title(name: str, caption: str) -> None:
    """The page's heading and what it is for, on their way to the browser before anything else is drawn.

    The page's script and the loop that sends what it draws take turns under one interpreter lock: without a pause here the heading
    waits for the whole page (measured: 105 ms instead of 229 to the heading of New run).
    """
    st.header(name, anchor=False)
    st.caption(caption)
    time.sleep(0.01)


# ---- text from outside -----------------------------------------------------------------------------------------------------------


_UNSEEN = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]|\r(?!\n)"
"""Controls, marks of direction, what has no width; not the joiners of emoji and of Arabic."""


def shown(text: str) -> str:
    """Text from outside as it can be sent to the browser: what isn't valid in it (a file name of odd bytes) reads as �."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def visible(text: str, *, lines: bool = True) -> str:
    """Text from outside with what nobody would see in it, or what turns the text after it round: `↵`, `[U+202E]`. Line ends and tabs stay
    as they are where it is shown in lines."""

    def named(unseen: re.Match[str]) -> str:
        return {"\n": "↵", "\t": "→"}.get(unseen[0], f"[U+{ord(unseen[0]):04X}]")

    return re.sub(_UNSEEN if lines else rf"[\t\r\n]|{_UNSEEN}", named, text)


def plain(text: str) -> str:
    """Text from outside, to stand where Streamlit takes Markdown: nothing in it formats, links or fetches.

    An address becomes a link even when it is escaped, unless something unseen stands in it.
    """
    unlinked = re.sub(r"(:(?=//)|www(?=\.)|@)", "\\1\u2060", shown(visible(text)), flags=re.IGNORECASE)
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", unlinked).replace("\n", "  \n")


def clipped(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


# ---- errors ----------------------------------------------------------------------------------------------------------------------


def show_error(error: StudioError, where: DeltaGenerator | None = None) -> None:
    """What happened, and below it what to do next."""
    if isinstance(error, WorkspaceUnavailable):
        logger.warning("%s", error, exc_info=error)
    box = (where or st).container()
    box.error(plain(error.message) + (f"  \n{plain(error.hint)}" if error.hint else ""), icon=":material/error:")
    if isinstance(error, EntryScriptError) and error.traceback:
        box.code(shown(error.traceback), language=None)


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show what a person can mend, in place of the rest of the page. Anything else is a bug and looks like one."""
    try:
        yield
    except StudioError as error:
        show_error(error)


@contextmanager
def errors_at_their_fields(fields: dict[str, DeltaGenerator]) -> Iterator[None]:
    """Show a SettingsError in the container that belongs to its field, any other error here."""
    try:
        yield
    except SettingsError as error:
        show_error(error, fields.get(error.field))
    except StudioError as error:
        show_error(error)


# ---- values in words -------------------------------------------------------------------------------------------------------------


def status_badge(run: Run) -> None:
    """The run's status, as a word in its colour."""
    color, icon = BADGES[run.status]
    st.badge(run.status, icon=icon, color=color)  # type: ignore[arg-type]


def duration_in_words(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{min(round(seconds), 59)} s"
    whole = int(seconds)
    for size, unit, smaller, smaller_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {smaller_unit}"
    return f"{whole // 60} min {whole % 60} s"


def ago(moment: datetime) -> str:
    """`just now`, `5 min ago`, `3 h ago`; the date once that is more than a day."""
    seconds = (utc_now() - moment).total_seconds()
    if seconds >= 86400:
        return local_time(moment)
    if seconds < 60:
        return "just now"
    return f"{int(seconds // 60)} min ago" if seconds < 3600 else f"{int(seconds // 3600)} h ago"


def local_time(moment: datetime) -> str:
    """The date and time where the person sits."""
    try:
        zone = ZoneInfo(st.context.timezone) if st.context.timezone else None
    except (ZoneInfoNotFoundError, ValueError):
        zone = None
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"


def facts(pairs: Mapping[str, str]) -> None:
    """Short facts side by side, each under its name; they wrap on a narrow window. The values may come from outside."""
    with st.grid(min(len(pairs), 24), min_column_width=130, gap="small"):
        for name, value in pairs.items():
            with st.container(gap=None):
                st.caption(plain(name))
                st.text(shown(value))


def labelled(label: str, text: str) -> None:
    """A text from outside that is there to be read and copied whole: a path, a checksum. A long one scrolls."""
    with st.container(gap="xxsmall"):
        st.caption(label)
        long = len(text) > 600 or text.count("\n") > 15
        st.code(shown(text), language=None, wrap_lines=True, height=300 if long else "content")


# ---- tables ----------------------------------------------------------------------------------------------------------------------

_ARROW_TYPES = {str: "string", int: "int64", float: "float64", bool: "bool_", datetime: "timestamp"}


def arrow_table(columns: Mapping[str, type], rows: Iterable[Sequence[Any]]) -> pa.Table:
    """Rows for `st.dataframe`, each with a str, int, float, bool, datetime or None for each of `columns`.

    Built so that pandas isn't imported, which takes a second the first time: `pa.array` imports it, pyarrow's JSON reader does not;
    nor does `st.dataframe` for such a table, if it has `on_select` or `lazy=False`.
    """
    import pyarrow as pa
    from pyarrow import json as arrow_json

    types = [pa.timestamp("ms", "UTC") if kind is datetime else getattr(pa, _ARROW_TYPES[kind])() for kind in columns.values()]
    schema = pa.schema(list(zip(columns, types, strict=True)))
    content = "\n".join(json.dumps(dict(zip(columns, map(_as_json, row), strict=True))) for row in rows).encode()
    if not content:
        return schema.empty_table()
    whole = arrow_json.ReadOptions(use_threads=False, block_size=len(content))  # a row must not be longer than a block
    return arrow_json.read_json(io.BytesIO(content), whole, arrow_json.ParseOptions(explicit_schema=schema))


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return shown(value) if isinstance(value, str) else value


def choosing_table(table: pa.Table, key: str, values: Sequence[str], position: int, columns: Mapping[str, Any]) -> None:
    """A table in which a click on a row chooses `values[row]` in the widget `key`; it marks the row at `position`, which that chose.

    To be drawn once that widget is: put the table into a container that stands above it.
    """
    own = f"{key}-table"

    def choose() -> None:
        if rows := st.session_state[own]["selection"]["rows"]:
            st.session_state[key] = values[rows[0]]

    marked = {"selection": {"rows": [position], "columns": [], "cells": []}}
    if own in st.session_state and st.session_state[own]["selection"]["rows"] != [position]:
        st.session_state[own] = marked
    st.dataframe(
        table, key=own, on_select=choose, selection_mode="single-row-required", selection_default=marked, column_config=columns,
        height="content" if table.num_rows <= 8 else 300, alt=f"Registered: choose a {key}", placeholder="",
    )  # type: ignore[call-overload]  # fmt: skip


def say_if_gone(key: str, values: Sequence[str]) -> None:
    """Say that what the URL asks for isn't there, before the widget `key` forgets it."""
    wanted = st.query_params.get(key, "")
    if ":" in wanted and wanted not in values:
        st.warning(plain(f"There is no “{wanted[:200]}” any more."), icon=":material/link_off:")


def self_check_table(checks: Sequence[tuple[str, bool, str]]) -> None:
    """What a workspace needs, and whether it is there."""
    bad = [what for what, holds, _ in checks if not holds]
    if bad:
        st.warning(f"Not as it should be: {plain(', '.join(bad))}.", icon=":material/warning:")
    else:
        st.success("Everything that this workspace needs is there.", icon=":material/check_circle:")
    rows = [(what, "ok" if holds else "not ok", detail) for what, holds, detail in checks]
    widths = {"Check": 160, "Result": 80, "Detail": 540}
    st.dataframe(
        arrow_table(dict.fromkeys(widths, str), rows),
        key="self-check",
        lazy=False,
        height="content",
        alt="What this workspace needs, and whether it is there",
        column_config={name: st.column_config.TextColumn(width=width) for name, width in widths.items()},
    )


def time_column() -> Any:
    """The column type of a moment, in the time of where the person sits."""
    return st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", timezone=st.context.timezone, width=140)
