"""What pages share: the open workspace, errors shown once and at their fields, foreign text shown as text, tables, words for values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from services.domain import Run, RunStatus, counted, utc_now
from services.errors import EntryScriptError, SettingsError, StudioError
from services.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    import pyarrow as pa

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
    """The workspace this dashboard works in. Opening the local one takes a millisecond, so it is not kept."""
    return open_workspace()


# ---- text from outside -----------------------------------------------------------------------------------------------------------


def shown(text: str) -> str:
    """Text from outside as it can be sent to the browser: what isn't valid in it (a file name of odd bytes) reads as �."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def plain(text: str) -> str:
    """Text from outside, to stand where Streamlit takes Markdown: nothing in it formats, links or fetches."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", shown(text)).replace("\n", "  \n")


# ---- errors ----------------------------------------------------------------------------------------------------------------------


def show_error(error: StudioError, where: DeltaGenerator | None = None) -> None:
    """What happened, and below it what to do next."""
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


@dataclass
class Form:
    """A form that does its work once, kept in the session as one object: changing its attributes is no place where Streamlit may
    interrupt a run in favour of the next click, writing to the session state is.

    `number` is part of every widget's key. Counting it up empties the form, and a second click finds no button that it belongs to.
    """

    name: str
    number: int = 0
    error: StudioError | None = None
    made: str = ""
    """The reference of what was made, until the page has shown it."""

    def key(self, widget: str) -> str:
        return f"{self.name}-{widget}-{self.number}"

    def done(self, made: str) -> None:
        """To be called right after the work, with no Streamlit call in between."""
        self.number, self.error, self.made = self.number + 1, None, made

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Note what is wrong. It stays shown until the next attempt: what vanishes by itself moves the button from under the pointer."""
        self.error = None
        try:
            yield
        except StudioError as error:
            self.error = error

    def show_error(self, fields: Mapping[str, DeltaGenerator], otherwise: DeltaGenerator) -> None:
        """Show what the last attempt found wrong, at its field where it has one."""
        if self.error:
            show_error(self.error, fields.get(getattr(self.error, "field", ""), otherwise))


def form(name: str) -> Form:
    """This session's form of that name."""
    kept: Form = st.session_state.setdefault(f"form-{name}", Form(name))
    return kept


# ---- values in words -------------------------------------------------------------------------------------------------------------


def status_badge(run: Run) -> None:
    """The run's status, as a word in its colour."""
    color, icon = BADGES[run.status]
    st.badge(run.status, icon=icon, color=color)  # type: ignore[arg-type]


def size_in_words(size: int) -> str:
    """`812 bytes`, `1.2 MB`; in steps of 1000, as tables show it."""
    if size < 1000:
        return counted(size, "byte")
    value, units = size / 1000, iter(("kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 999.95 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{value:,.1f} {unit}"


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
    with st.grid(len(pairs), min_column_width=130, gap="small"):
        for name, value in pairs.items():
            with st.container(gap=None):
                st.caption(name)
                st.text(shown(value))


# ---- tables ----------------------------------------------------------------------------------------------------------------------

_ARROW_TYPES = {str: "string", int: "int64", float: "float64", bool: "bool_", datetime: "timestamp"}


def arrow_table(columns: Mapping[str, type], rows: Iterable[Sequence[Any]]) -> pa.Table:
    """Rows for `st.dataframe`, each with a str, int, float, bool, datetime or None for each of `columns`.

    Built so that pandas isn't imported, which takes a second the first time: `pa.array` imports it, pyarrow's JSON reader does not;
    nor does `st.dataframe` for such a table, if it has `on_select` or `lazy=False`.
    """
    import io

    import pyarrow as pa
    from pyarrow import json as arrow_json

    types = [pa.timestamp("ms", "UTC") if kind is datetime else getattr(pa, _ARROW_TYPES[kind])() for kind in columns.values()]
    schema = pa.schema(list(zip(columns, types, strict=True)))
    lines = [json.dumps(dict(zip(columns, map(_as_json, row), strict=True))) for row in rows]
    if not lines:
        return schema.empty_table()
    options = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    return arrow_json.read_json(io.BytesIO("\n".join(lines).encode()), parse_options=options)


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return shown(value) if isinstance(value, str) else value


def time_column(label: str | None = None) -> Any:
    """The column type of a moment, in the time of where the person sits."""
    return st.column_config.DatetimeColumn(label, format="YYYY-MM-DD HH:mm", timezone=st.context.timezone, width=150)
