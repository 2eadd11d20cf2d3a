"""Datasets: what files would be registered as, with their first rows and what is odd about them; and what a person corrects of it.

Files are looked at in the background: a slow answer never keeps a person from typing, and the latest one stays while the next is made.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _errors, _tables
from pages._text import displayable, escape, truncate, visible
from services.domain import DatasetProblem, DatasetProposal, TableReading
from services.errors import NotFound, StudioError
from services.formats import counted

AUTO, FILE, TABULAR = "auto", "file", "tabular"
KINDS = {"Each file is one item": FILE, "Each row is one item": TABULAR}
_LABELS = {kind: label for label, kind in KINDS.items()}
_TEXT_FORMATS, _WORKBOOKS = ("csv", "tsv"), ("excel",)
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar |", " ": "space"}
_DECIMALS = {".": "point", ",": "comma"}
_ENCODINGS = ("utf-8", "utf-16", "cp1252", "latin-1", "utf-8-sig", "cp1250", "shift_jis", "gb18030")
_READING_FIELDS = ("delimiter", "decimal", "encoding", "header", "quote", "types", "sheets", "column", "sheet")
_HEADERS = {True: "names", False: "data"}
_FORMATS = {"csv": "CSV", "tsv": "TSV", "jsonl": "JSON Lines", "parquet": "Parquet", "excel": "Excel"}
_PATIENCE = 0.4  # seconds that the page waits for an answer before it is drawn without one
_POLL_SECONDS = 0.5
_LONG = 20.0  # seconds after which the page says that nobody needs to wait
_SHOWN_COLUMNS, _SHOWN_ROWS = 50, 10
_CELL, _NAME = 200, 60  # characters
_LISTED_COLUMNS = 2_000  # more are not in a list to choose from
_LISTED_PROBLEMS = 100


@dataclass
class _Answer:
    """The answer to a question, filled in by a thread of its own."""

    done: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.monotonic)
    proposal: DatasetProposal | None = None
    error: StudioError | None = None


@dataclass
class Inquiry:
    """What is asked about the files of one form, and what a person has said of them; kept in the session.

    The widgets' values are kept here as well: Streamlit forgets those of widgets that a page doesn't draw.
    """

    files: Any = None
    """Which files it is about; with others, what was said is forgotten."""
    kind: str = ""
    """FILE or TABULAR where a person has chosen it."""
    reading: TableReading = field(default_factory=TableReading)
    column: str = ""
    """The column whose type is shown."""
    question: Any = None
    answer: _Answer | None = None
    latest: DatasetProposal | None = None
    """The last answer about these files."""
    box: DeltaGenerator | None = None
    """Where an error is shown."""

    def about(self, files: Any, kind: str = "") -> None:
        """Which files it is about now; of others the kind is `kind` first, where that is given."""
        if files != self.files:
            self.files, self.kind, self.reading, self.column = files, kind if files else "", TableReading(), ""
            self.question = self.answer = self.latest = None

    def ask(self, look: Callable[[str, TableReading], DatasetProposal]) -> None:
        """Ask again where something was changed since."""
        question = (self.files, self.kind, self.reading)
        if question != self.question:
            self.question, self.answer = question, _Answer()
            threading.Thread(target=_look, args=(self.answer, look, self.kind or AUTO, self.reading), daemon=True).start()
            self.answer.done.wait(_PATIENCE)
        if self.answer and self.answer.done.is_set() and self.answer.proposal:
            self.latest = self.answer.proposal

    @property
    def waiting(self) -> bool:
        return self.answer is not None and not self.answer.done.is_set()

    @property
    def error(self) -> StudioError | None:
        return self.answer.error if self.answer and self.answer.done.is_set() else None

    @property
    def type(self) -> str:
        """What to register them as."""
        return self.kind or (self.latest.type if self.latest else AUTO)

    @property
    def corrections(self) -> TableReading | None:
        """What a person says of how they are read as a table; None for nothing."""
        return self.reading if self.type != FILE and self.reading != TableReading() else None

    def said(self, error: StudioError) -> None:
        """This error is shown now, by the form: not twice."""
        if self.box and self.error and self.error.message == error.message:
            self.box.empty()

    def correct(self, **values: Any) -> None:
        self.reading = replace(self.reading, **values)


def _look(answer: _Answer, look: Callable[[str, TableReading], DatasetProposal], kind: str, reading: TableReading) -> None:
    try:
        answer.proposal = look(kind, TableReading() if kind == FILE else reading)
    except StudioError as error:
        answer.error = error
    finally:
        answer.done.set()


def inquiry_called(key: str) -> Inquiry:
    """This session's."""
    inquiry: Inquiry = st.session_state.setdefault(key, Inquiry())
    return inquiry


# ---- what is shown -----------------------------------------------------------------------------------------------------------------------


def show(
    inquiry: Inquiry,
    key: Callable[[str], str],
    look: Callable[[str, TableReading], DatasetProposal] | None,
    fields: Mapping[str, DeltaGenerator],
    shown: StudioError | None,
) -> dict[str, DeltaGenerator]:
    """The kind, the first rows and the reading of the files that `inquiry` is about; nothing where there are none. `look` proposes for a
    type and a reading; without it files can't be looked at, and the kind alone is asked.

    An error is shown at its field, unless it is `shown` already. Returns where errors of the fields that are drawn here belong.
    """
    if inquiry.files is None:
        return {}
    if look:
        inquiry.ask(look)
    proposal, error = inquiry.latest, inquiry.error
    inquiry.box = None
    field_name = getattr(error, "field", "path")
    if error and not proposal and (isinstance(error, NotFound) or getattr(error, "field", "") in fields):
        _show_error(inquiry, error, fields.get(field_name, fields["path"]), shown)
        return {}
    with st.container(border=True, key=key("proposal")):
        sentence, kind_place = st.container(), st.container()
        with kind_place:
            _kind(inquiry, key)
        if inquiry.waiting:
            st.fragment(_until_answered, run_every=_POLL_SECONDS)(inquiry)
        elif proposal and not error:
            sentence.markdown(f"**{escape(proposal.why)}**")
            _problems(proposal.problems, proposal.problem_count)
            for note in proposal.notes:
                st.caption(escape(note))
            _leading_zeros(inquiry, proposal, key)
        if proposal and not error:
            _preview(proposal)
        reading_place = st.container()
        if inquiry.type == TABULAR and (proposal or error):
            with reading_place:
                _reading(inquiry, proposal, key)
        places = {"type": kind_place} | dict.fromkeys(_READING_FIELDS, reading_place)
        if error:
            _show_error(inquiry, error, {**places, **fields}.get(field_name, fields["path"]), shown)
    return places


def _show_error(inquiry: Inquiry, error: StudioError, place: DeltaGenerator, shown: StudioError | None) -> None:
    if not (shown and shown.message == error.message):
        inquiry.box = place.empty()
        _errors.show(error, inquiry.box)


def _until_answered(inquiry: Inquiry) -> None:
    """While the files are looked at; then the page is drawn with the answer."""
    if not inquiry.waiting:
        st.rerun()
    seconds = time.monotonic() - inquiry.answer.began if inquiry.answer else 0.0
    more = " You don't have to wait: registering looks at all files anyway." if seconds > _LONG else ""
    with st.spinner(f"Looking at the files… {seconds:.0f} s.{more}"):
        time.sleep(0.05)
    st.caption(f":material/hourglass_top: Looking at the files… {seconds:.0f} s.{more}")


def _kind(inquiry: Inquiry, key: Callable[[str], str]) -> None:
    shown = inquiry.kind or (inquiry.latest.type if inquiry.latest else "")
    _follow(key("type"), _LABELS.get(shown))

    def choose() -> None:
        inquiry.kind = KINDS.get(st.session_state[key("type")] or "", "")

    help_text = "What run() gets: the paths of files, or the rows of tables with equal columns as a pandas DataFrame."
    st.segmented_control("Type", list(KINDS), key=key("type"), on_change=choose, wrap=True, help=help_text)


def _problems(problems: Sequence[DatasetProblem], count: int) -> None:
    """The odd files."""
    if not count:
        return
    st.warning(
        f"{counted(count, 'file')} {'is' if count == 1 else 'are'} odd: a run will most likely fail there.", icon=":material/warning:"
    )
    show_problems(problems, count)


def show_problems(problems: Sequence[DatasetProblem], count: int) -> None:
    """A table of the first ones."""
    rows = [(truncate(visible(problem.file, lines=False), 300), problem.what) for problem in problems[:_LISTED_PROBLEMS]]
    _tables.show({"File": str, "What is odd": str}, rows, "Odd files, and what is odd about them", most=6)
    if count > len(rows):
        st.caption(f"The first {len(rows):,} of {count:,}.")


def _leading_zeros(inquiry: Inquiry, proposal: DatasetProposal, key: Callable[[str], str]) -> None:
    """A button that keeps the zeros of codes such as 00501."""
    zeros = dict(proposal.leading_zeros)
    if not zeros:
        return
    name, example = next(iter(zeros.items()))
    which = f"“{_column_name(name)}” ({truncate(example, 20)})" if len(zeros) == 1 else f"these {len(zeros):,} columns"
    st.button(
        escape(f"Read {which} as text"), key=key("zeros"), icon=":material/text_fields:",
        on_click=lambda: inquiry.correct(types={**inquiry.reading.types, **dict.fromkeys(zeros, "text")}),
        help="So that leading zeros are kept",
    )  # fmt: skip


def _preview(proposal: DatasetProposal) -> None:
    """The first rows of a table, with the types of its columns."""
    if not proposal.columns:
        return
    columns = proposal.columns[:_SHOWN_COLUMNS]
    rows = [
        [truncate(visible(text, lines=False), _CELL) for text in (*row[: len(columns)], *[""] * (len(columns) - len(row)))]
        for row in proposal.rows[:_SHOWN_ROWS]
    ]
    config = {
        str(number): st.column_config.TextColumn(
            f"{visible(truncate(name, _NAME), lines=False)} · {type_}", help=escape(truncate(name, 500)), width=_width(name, type_)
        )
        for number, (name, type_) in enumerate(columns)
    }
    table = _tables.arrow(dict.fromkeys(config, str), rows)
    st.dataframe(table, lazy=False, hide_index=True, height="content", alt="The first rows, as they are read", column_config=config)
    if len(proposal.columns) > len(columns):
        st.caption(f"The first {len(columns)} of {len(proposal.columns):,} columns.")


def _width(name: str, type_: str) -> int:
    return min(260, max(110, 8 * (len(name) + len(type_) + 3)))


# ---- how they are read -------------------------------------------------------------------------------------------------------------------


def _reading(inquiry: Inquiry, proposal: DatasetProposal | None, key: Callable[[str], str]) -> None:
    """What a person may say of how the files are read as a table."""
    found = proposal.reading if proposal else TableReading()
    source_format = proposal.source_format if proposal else "csv"
    opened = inquiry.error is not None or inquiry.reading != TableReading()
    summary = describe(source_format, _dialect_of(found))
    with st.expander(f"How they are read: {escape(summary)}" if summary else "How they are read", key=key("reading"), expanded=opened):
        if source_format in _TEXT_FORMATS:
            with st.grid(4, min_column_width=170, gap="small"):
                _choice(inquiry, key, "delimiter", "Delimiter", _DELIMITERS, found.delimiter, more=True)
                _choice(inquiry, key, "decimal", "Decimal mark", _DECIMALS, found.decimal)
                _choice(inquiry, key, "encoding", "Encoding", dict.fromkeys(_ENCODINGS), found.encoding, more=True)
                _choice(inquiry, key, "header", "First row is", _HEADERS, found.header)
        elif source_format in _WORKBOOKS:
            with st.grid(2, min_column_width=200, gap="small"):
                _choice(inquiry, key, "header", "First row is", _HEADERS, found.header)
                if proposal and proposal.sheets:
                    _sheets(inquiry, key, proposal.sheets, found.sheets)
        if proposal and proposal.columns:
            _types(inquiry, key, proposal.columns)


def _choice(
    inquiry: Inquiry,
    key: Callable[[str], str],
    name: str,
    label: str,
    options: Mapping[Any, str | None],
    found: Any,
    *,
    more: bool = False,
) -> None:
    """One of these, another one that is typed if `more`, or none, which is what the files tell."""
    chosen = getattr(inquiry.reading, name)
    told = options.get(found) or str(found)
    names = {value: text or str(value) for value, text in options.items()}
    if chosen is not None and chosen not in names:
        names[chosen] = visible(str(chosen), lines=False)
    named = {text: value for value, text in names.items()}
    as_found = "as found" if found is None or chosen is not None else f"{told} (found)"
    _follow(key(name), names.get(chosen, as_found))

    def choose() -> None:
        text = st.session_state[key(name)]
        inquiry.correct(**{name: None if text in (None, as_found) else named.get(text, text)})

    st.selectbox(label, [as_found, *named], key=key(name), on_change=choose, accept_new_options=more)


def _sheets(inquiry: Inquiry, key: Callable[[str], str], sheets: Sequence[str], found: Sequence[str]) -> None:
    _follow(key("sheets"), [sheet for sheet in inquiry.reading.sheets or found if sheet in sheets])

    def choose() -> None:
        inquiry.correct(sheets=tuple(st.session_state[key("sheets")]))

    st.multiselect(
        "Sheets", sheets, key=key("sheets"), on_change=choose, format_func=displayable, help="Their rows are appended, in this order."
    )


def _types(inquiry: Inquiry, key: Callable[[str], str], columns: Sequence[tuple[str, str]]) -> None:
    """The type of one column, which can be changed, and the changes."""
    types = dict(columns)
    if inquiry.column not in types:
        inquiry.column = columns[0][0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _follow(key("column"), inquiry.column)

        def choose_column() -> None:
            inquiry.column = st.session_state[key("column")] or ""

        if len(columns) <= _LISTED_COLUMNS:
            st.selectbox("Column", list(types), key=key("column"), on_change=choose_column, format_func=_column_name, width=260)
        else:
            st.text_input("Column", key=key("column"), on_change=choose_column, width=260, help="The full name of a column.")
        _follow(key("column_type"), types[inquiry.column])

        def choose_type() -> None:
            if type_ := st.session_state[key("column_type")]:
                inquiry.correct(types={**inquiry.reading.types, inquiry.column: type_})

        st.segmented_control("is read as", TableReading.COLUMN_TYPES, key=key("column_type"), on_change=choose_type, wrap=True)
    if inquiry.reading.types:
        with st.container(horizontal=True, gap="small"):
            for number, (name, type_) in enumerate(inquiry.reading.types.items()):
                st.button(
                    escape(f"{_column_name(name)}: {type_}"), key=key(f"type_{number}"), icon=":material/close:",
                    on_click=_forget_type, args=(inquiry, name), help="Detect its type from its values again",
                )  # fmt: skip


def _forget_type(inquiry: Inquiry, column: str) -> None:
    inquiry.correct(types={name: type_ for name, type_ in inquiry.reading.types.items() if name != column})


def _column_name(name: str) -> str:
    return truncate(visible(displayable(name), lines=False), _NAME)


def _dialect_of(reading: TableReading) -> dict[str, str]:
    """A reading as TabularDataset.dialect has it."""
    values = {"delimiter": reading.delimiter, "decimal": reading.decimal, "encoding": reading.encoding, "quote": reading.quote}
    header = {} if reading.header is None else {"header": "on" if reading.header else "off"}
    sheets = {"sheet": ", ".join(reading.sheets)} if reading.sheets else {}
    return {name: value for name, value in values.items() if value} | header | sheets


def describe(source_format: str, dialect: Mapping[str, str]) -> str:
    """How a table's files were read: `CSV, semicolon, decimal comma, cp1252, the first row names the columns`."""
    parts = [_FORMATS.get(source_format, source_format)]
    if delimiter := dialect.get("delimiter"):
        parts.append(_DELIMITERS.get(delimiter, f"delimiter {visible(delimiter, lines=False)}"))
    if dialect.get("decimal") == ",":
        parts.append("decimal comma")
    if (quote := dialect.get("quote", '"')) != '"':
        parts.append(f"quote {quote}")
    parts += [visible(dialect[name], lines=False) for name in ("encoding", "compression") if dialect.get(name)]
    if sheet := dialect.get("sheet"):
        parts.append(f"sheet {visible(sheet, lines=False)}")
    if header := dialect.get("header"):
        parts.append("the first row names the columns" if header == "on" else "no header")
    return ", ".join(part for part in parts if part)


def _follow(key: str, value: Any) -> None:
    """Give a widget its value. One that has it is left alone: a person may be typing there."""
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value
