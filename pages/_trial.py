"""*Try first* of New run: some items scored now: their rows, how long the run takes, and better settings to take over by a click."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages import _errors, _given_values, _layout, _tables
from pages._text import displayable, escape, truncate
from services import trial_here
from services.domain import RunRequest
from services.errors import SettingsError, StudioError
from services.formats import counted
from services.run_details import Suggestion, Trial
from services.settings import TABLE
from services.workspace import Workspace

_WAYS = {"first": "First", "random": "Random", "chosen": "By number"}
_POLL_SECONDS = 0.5
_UNSEEN_SECONDS = 90.0  # a browser runs the clock of a hidden tab once a minute
_LONGEST_CELL = 200  # characters
_LONG_NAME = 38  # characters
_MOST_COLUMNS = 30
_MOST_CAUSES = 10


@dataclass
class _Attempt:
    """A trial of this session, under way or done. Its thread makes no Streamlit call; it stops where the session is gone."""

    request: RunRequest
    session: str
    item: str
    done: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.monotonic)
    seen: float = field(default_factory=time.monotonic)
    trial: Trial | None = None
    error: StudioError | None = None

    def start(self, workspace: Workspace, items: int, choice: str | Sequence[int], *, here: bool) -> None:
        def work() -> None:
            try:
                self.trial = trial_here.try_items(
                    workspace, self.request, here=here, items=items, choice=choice, stopped=self._is_over
                )  # fmt: skip
            except StudioError as error:
                self.error = error
            finally:
                self.done.set()

        threading.Thread(target=work, daemon=True).start()

    def _is_over(self) -> bool:
        closed = runtime.exists() and not runtime.get_instance().is_active_session(self.session)
        return self.stop.is_set() or closed or time.monotonic() - self.seen > _UNSEEN_SECONDS

    def is_of(self, request: RunRequest) -> bool:
        """Whether it scores the same items by the same script; the settings may have changed since."""
        return _without_settings(self.request) == _without_settings(request)


def _without_settings(request: RunRequest) -> RunRequest:
    neutral = replace(request.settings, mini_batch_size=None, process_count_per_node=None, run_invocation_timeout=1)
    return replace(request, settings=neutral, name="", allow_reuse=True, submission_id="")


def show(workspace: Workspace, request: RunRequest) -> None:
    """The section: to be drawn where the request could be submitted."""
    attempt: _Attempt | None = st.session_state.get("trial")
    if attempt and not attempt.is_of(request):
        attempt.stop.set()
        attempt = st.session_state["trial"] = None
    with st.container(border=True, key="section-trial"):
        st.subheader("Try first", icon=":material/science:", anchor=False)
        text = "Scores a few items now, as the run will: their rows, what fails, how long the run takes."
        st.caption(f"{text} To measure that, more items are scored for up to ten seconds. Nothing is kept.")
        under_way = attempt is not None and not attempt.done.is_set()
        pressed, wanted = _ask(under_way)
        consent = trial_here.consent(workspace)
        here = bool(consent) and st.checkbox("Score them on this machine", help=consent, key="trial_here", disabled=under_way)
        if pressed and not under_way:
            try:
                items, choice = _wanted(*wanted)
            except SettingsError as error:
                _errors.show(error)
                return
            context = get_script_run_ctx()
            item = workspace.dataset(request.datasets[0]).item
            attempt = st.session_state["trial"] = _Attempt(request, context.session_id if context else "", item)
            attempt.start(workspace, items, choice, here=here)
            attempt.done.wait(0.2)
            st.rerun()
        if attempt is None:
            return
        if not attempt.done.is_set():
            st.fragment(_wait, run_every=_POLL_SECONDS)(attempt)
        elif attempt.error:
            _errors.show(attempt.error)
        elif attempt.trial:
            _result(attempt.trial, attempt.request, request)


def _ask(under_way: bool) -> tuple[bool, tuple[str, str]]:
    """Which items; and whether the button was pressed."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        way = st.segmented_control(
            "Items", list(_WAYS), format_func=lambda way: _WAYS[way], default="first", required=True, key="trial_way",
            disabled=under_way, persist_state="session",
        )  # fmt: skip
        if way == "chosen":
            help_text = "Numbers of items in the order of the dataset, from 1."
            text = st.text_input("Numbers", key="trial_numbers", placeholder="1, 5, 9", help=help_text, disabled=under_way, width=140)
        else:
            text = st.text_input("How many", "5", key="trial_items", disabled=under_way, width=90, persist_state="session")
        pressed = st.button("Try", key="try", icon=":material/play_circle:", disabled=under_way)
    return pressed, (way or "first", text)


def _wanted(way: str, text: str) -> tuple[int, str | list[int]]:
    """As `Workspace.try_items` takes them. Raises SettingsError."""
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() and len(word) <= 12 for word in words) or (way != "chosen" and len(words) > 1):
        what = "numbers of items" if way == "chosen" else "a number of items"
        raise SettingsError("items", f"“{truncate(text.strip(), 40)}” is not {what}", "Write 1, 5, 9." if way == "chosen" else "Write 5.")
    return (5, [int(word) for word in words]) if way == "chosen" else (int(words[0]), way)


def _wait(attempt: _Attempt) -> None:
    attempt.seen = time.monotonic()
    if attempt.done.is_set():
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Stop", key="stop-trial", icon=":material/stop_circle:", on_click=attempt.stop.set, disabled=attempt.stop.is_set())
        doing = "Stopping" if attempt.stop.is_set() else f"Trying {attempt.item}s"
        st.markdown(f":material/hourglass_top: {doing}… {time.monotonic() - attempt.began:.0f} s")


def _result(trial: Trial, tried: RunRequest, request: RunRequest) -> None:
    if trial.error:
        st.error(escape(trial.error), icon=":material/error:")
        if trial.traceback:
            st.code(displayable(trial.traceback), language=None)
    if tried.settings != request.settings:
        st.caption("Tried with other settings than those above: try again to see what they change.")
    if trial.estimate:
        st.markdown(f"**The run takes {escape(trial.estimate.describe())}**, on {counted(trial.estimate.workers, 'worker')}.")
        if trial.estimate.why:
            st.caption(escape(". ".join(trial.estimate.why) + "."))
    _rows(trial)
    for cause in trial.causes[:_MOST_CAUSES]:
        st.error(escape(f"{counted(cause.count, trial.item)} failed: {truncate(cause.cause, 1_000)}"), icon=":material/error:")
    if trial.not_numbers:
        st.warning("\n\n".join(escape(truncate(sentence, 500)) for sentence in trial.not_numbers[:_MOST_CAUSES]), icon=":material/tag:")
    if trial.warnings:
        st.warning("\n\n".join(escape(truncate(sentence, 1_000)) for sentence in trial.warnings), icon=":material/warning:")
    if trial.place:
        st.info("\n\n".join(map(escape, trial.place)), icon=":material/dns:")
    if trial.not_tried:
        st.caption(escape(" ".join(f"Not tried: {sentence}" for sentence in trial.not_tried)))
    if facts := trial.facts():
        _layout.facts(facts)
    _suggestions(trial.suggestions, request)
    if trial.output:
        with st.expander("What the script printed", icon=":material/terminal:"):
            st.code(displayable(trial.output), language=None, wrap_lines=True, height=240 if trial.output.count("\n") > 8 else "content")


def _rows(trial: Trial) -> None:
    if not trial.rows:
        return
    names = [name for name in trial.predictions if name in trial.columns][:_MOST_COLUMNS]
    item = "Row" if any(row.row for row in trial.rows) else "File"
    several = len({row.item for row in trial.rows}) > 1
    failed = ["Why it failed"] if trial.failed and any(row.error for row in trial.rows) else []
    header = [item, *names, *failed]
    unique = [name if header.index(name) == place else f"{name} ({place})" for place, name in enumerate(header)]

    def called(row_item: str, number: int | None) -> str:
        return row_item if number is None else f"{row_item}, row {number:,}" if several else f"{number:,}"

    cells = [
        [called(row.item, row.row), *(_cell(row.values.get(name)) for name in names), *([_cell(row.error)] if failed else [])]
        for row in trial.rows
    ]
    wide = max((len(row[0] or "") for row in cells), default=0) > _LONG_NAME and len(unique) > 1
    narrow = {unique[0]: st.column_config.TextColumn(width=270)} if wide else {}
    _tables.show(dict.fromkeys(unique, str), cells, "Rows of the items that were tried", most=10, column_config=narrow)
    if left_out := len(trial.predictions) - len(names):
        st.caption(f"And {counted(left_out, 'column')} more.")


def _cell(value: object) -> str:
    return "" if value is None else truncate(str(value), _LONGEST_CELL)


def _suggestions(suggestions: Sequence[Suggestion], request: RunRequest) -> None:
    for suggestion in suggestions:
        label = TABLE[suggestion.setting].label
        with st.container(horizontal=True, vertical_alignment="center", key=f"suggestion-{suggestion.setting}"):
            with st.container(gap=None):
                st.markdown(f":material/lightbulb: **{label}: {escape(suggestion.value)}**")
                st.caption(escape(suggestion.why))
            if str(getattr(request.settings, suggestion.setting)) == suggestion.value:
                st.badge("Applied", icon=":material/check:", color="green")
            else:
                st.button("Apply", key=f"apply-{suggestion.setting}", on_click=_apply, args=(suggestion,))


def _apply(suggestion: Suggestion) -> None:
    _given_values.put({suggestion.setting: suggestion.value})
    st.toast(f"{TABLE[suggestion.setting].label} is {escape(suggestion.value)} now.", icon=":material/check_circle:")
