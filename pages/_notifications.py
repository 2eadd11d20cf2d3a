"""Messages about runs that end, on whatever page one is: a message, and the browser's own notification where a person asked for it."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import streamlit as st

from pages import _layout, _workspace
from pages._switching import switch_page
from pages._text import displayable, truncate, visible
from services import formats
from services.domain import Run, utc_now
from services.errors import StudioError
from services.formats import counted
from services.workspaces import chosen_workspace

_POLL_SECONDS = 4.0
_SHOWN = 3  # at a time
_LATE = timedelta(minutes=15)
"""So long after a run's end it may be written that it ended: an Azure run's end is when its job ended, its output is downloaded after."""

_ASK = st.components.v2.component(
    "notify_when_a_run_ends",
    html='<button type="button" hidden>Notify me when it ends</button><span role="status"></span>',
    css="""
button { font: inherit; font-size: .875rem; color: var(--st-text-color); background: transparent; cursor: pointer; padding: 4px 10px;
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius, 6px); min-height: 32px }
button:hover { border-color: var(--st-primary-color) }
button:focus-visible { outline: 2px solid #1d8a96; outline-offset: 2px }
button[hidden] { display: none }
span { font-size: .875rem; color: var(--st-text-color) }
""",
    js="""
export default function ({ parentElement }) {
  const button = parentElement.querySelector("button"), words = parentElement.querySelector("span")
  const show = () => {
    const state = "Notification" in window && window.isSecureContext ? Notification.permission : "unknown"
    button.hidden = state !== "default"
    words.textContent = { granted: "You will be notified", denied: "Your browser blocks notifications" }[state] ?? ""
  }
  button.onclick = () => Notification.requestPermission().then(show)
  show()
}
""",
)
_TELL = st.components.v2.component(
    "tell_that_runs_ended",
    js="""
export default function ({ data }) {
  if (!("Notification" in window) || Notification.permission !== "granted") return
  const key = "batch-scoring-notified", told = new Set(JSON.parse(sessionStorage.getItem(key) ?? "[]"))
  for (const { id, title, body, url } of data.ends) {
    if (told.has(id)) continue
    told.add(id)
    const shown = new Notification(title, { body, tag: id })  // another tab's has the same tag, and takes its place
    shown.onclick = () => { window.focus(); window.location.assign(url) }
  }
  sessionStorage.setItem(key, JSON.stringify([...told].slice(-100)))
}
""",
)


def show_button() -> None:
    """Asks for the browser's notifications: only a click of it does."""
    _ASK(key="notify", width="content", height="content")


def watch(page: str) -> None:
    """Tell of the runs that end from now on, on the page of this address. Polls the registry, cheaply, on every page."""
    if "ended_runs" not in st.session_state:
        st.session_state.ended_runs, st.session_state.ends_known = [], {}
        _new_ends()  # those that have ended before

    def show_ends() -> None:
        _show_ends(page)

    # Streamlit tells fragments apart by their names: under one name on all pages, a refresh that the page before asked for late would be
    # run on the next one, which it clears (see `switch_page`).
    show_ends.__qualname__ = f"show_ends on {page or 'home'}"
    st.fragment(show_ends, run_every=_POLL_SECONDS)()


def _new_ends() -> list[Run]:
    """The runs that ended since this session last asked this workspace. Not by the latest end alone: one that ended
    before it may be written after it."""
    now = utc_now()
    with suppress(StudioError):  # the page says so
        workspace = chosen_workspace()
        asked_at, known = st.session_state.ends_known.get(workspace.home, (None, {}))
        ended = workspace.runs.ended_since((asked_at or now) - _LATE)
        st.session_state.ends_known[workspace.home] = now, {run.id: run.ended_at for run in ended}
        return [run for run in ended if asked_at and known.get(run.id) != run.ended_at]
    return []


def _show_ends(page: str) -> None:
    ended: list[Run] = st.session_state.ended_runs
    with suppress(StudioError):
        if _workspace.chosen_elsewhere():
            st.rerun()
    for run in _new_ends():
        ended[:] = [other for other in ended if other.id != run.id] + [run]
    if not ended:
        return
    notifications = [_notification(run) for run in ended[-_SHOWN:]]
    if page == "runs":  # a run's own page says how it ended
        ended[:] = [run for run in ended if run.id != st.query_params.get("run")]
    background = "#1b242b" if st.context.theme.type == "dark" else "#ffffff"
    with st.container(key="ended-runs", gap="small"):
        st.html(f"<style>:root {{ --ended-run: {background} }}</style>")
        if len(ended) > _SHOWN:
            with st.container(key="ended-run-more", border=True, horizontal=True, vertical_alignment="center"):
                st.markdown(f"{counted(len(ended) - _SHOWN, 'more run')} ended", width="stretch")
                if st.button("Dismiss all", key="dismiss-ended-runs", type="tertiary"):
                    ended.clear()
                    st.rerun(scope="fragment")
        for run in ended[-_SHOWN:]:
            _message(run, ended)
        _TELL(key="tell-ends", height=1, data={"ends": notifications})


def _message(run: Run, ended: list[Run]) -> None:
    with st.container(key=f"ended-run-{run.id}", border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center"):
            _layout.status_badge(run)
            st.space("stretch")
            if st.button("", key=f"dismiss-{run.id}", icon=":material/close:", type="tertiary", help="Dismiss this message"):
                ended.remove(run)
                st.rerun(scope="fragment")
        st.text(_name(run))
        st.caption(_counts(run))
        is_shown = st.query_params.get("run") == run.id
        if not is_shown and st.button("Open run", key=f"open-ended-{run.id}", icon=":material/arrow_forward:"):
            ended.remove(run)
            switch_page("runs.py", query_params={"run": run.id})


def _name(run: Run) -> str:
    return truncate(visible(displayable(" ".join(run.title.split())), lines=False), 80)


def _counts(run: Run) -> str:
    parts = [] if run.items_succeeded is None else [f"{run.items_succeeded:,} succeeded", f"{run.items_failed or 0:,} failed"]
    return " · ".join([*parts, *([] if run.duration is None else [f"in {formats.duration(run.duration)}"])])


def _notification(run: Run) -> dict[str, str]:
    return {"id": f"{run.id} {run.ended_at}", "title": f"{run.status} · {_name(run)}", "body": _counts(run), "url": f"runs?run={run.id}"}
