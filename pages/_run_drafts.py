"""New run: a form that was begun. Its address has what is plain; a draft in the home has the rest, and the address just its number.

Three things may decide what is in the form when the page is opened: its address, a draft that the address names, and a run that it names
(`like`), whose request is shown. Afterwards its widgets do, and every change is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages import _errors, _fit, _given_values, _run_settings, _workspace
from pages._forms import last_submission
from pages._run_form import IN_ADDRESS, PRIVATE_KEYS, PrivatePart, RunForm, text_of
from pages._switching import switch_page
from pages._text import displayable, escape
from services.domain import Run
from services.errors import NotFound, SettingsError, StudioError
from services.file_names import quoted, short
from services.handover.rerun import for_a_form
from services.preflight import preflight
from services.scoring.column_matching import named_inputs
from services.scoring.scorers import ScorerOptions, scorer_at
from services.settings import ParallelRunSettings
from services.storage.drafts import Drafts, new_number
from services.storage.serialization import from_json, to_json
from services.workspace import Workspace

BOUND = ("model", "dataset", "script", "environment", "compute_target", "allow_reuse", *IN_ADDRESS)
"""The query parameters that are widgets, by their keys."""
_OTHER = ("run", "like", "draft")

_editors: dict[str, str] = {}
"""The session that writes each draft, by its number."""
_lock = threading.Lock()


@dataclass
class _Begun:
    """The form of this session: what it was opened with, and what of it was kept last. One object, because Streamlit may interrupt a run
    where it writes to the session state, but not where it changes an attribute."""

    like: str = ""
    draft: str = ""
    kept: PrivatePart = field(default_factory=PrivatePart)
    script: str = ""
    """The script that the address named last: another one there is by a link, or by Back."""
    run_id: str = ""
    """The run that it became; "" before it is submitted."""
    submitted: dict[str, str] = field(default_factory=dict)
    """The runs that earlier forms of this session became, by their drafts."""
    is_new: bool = False
    """Whether everything in its widgets is of another form, and to be forgotten."""
    opened: dict[str, str] | None = None
    """The address of a form that a click here opened and the browser doesn't show yet."""


def _begun() -> _Begun:
    begun: _Begun = st.session_state.setdefault("begun_form", _Begun())
    return begun


# ---- opening the page ----------------------------------------------------------------------------------------------------------------


def arrive(workspace: Workspace) -> None:
    """Fill in what the address names, before any widget is drawn. What can't be is said here."""
    begun, query = _begun(), st.query_params
    if begun.opened is not None and not begun.is_new:
        if not _given_values.is_started():  # a click in the form before: what it would do is not meant for this one
            begun.is_new = True
            switch_page("new_run.py", query_params=begun.opened)
        begun.opened = None
    if begun.run_id and not last_submission().is_recent:  # it is another form now, also where the browser's Back shows it
        begun.submitted[begun.draft] = begun.run_id
        begun.is_new = True
    if begun.is_new:
        _empty_widgets(workspace)
        st.session_state.begun_form = begun = _Begun(submitted=begun.submitted, opened=begun.opened)
        Drafts(workspace.home).remove_old()
    if run_id := query.get("run", ""):
        open_run(workspace, run_id)
    like, draft = query.get("like", ""), query.get("draft", "")
    if (script := query.get("script", "")) and script != begun.script:
        begun.script = script
        st.session_state.pop("script", None)
    if draft and draft in begun.submitted:
        open_run(workspace, begun.submitted[draft])
    if (like, draft) not in ((begun.like, begun.draft), ("", "")):
        _load(workspace, like, draft)
        return
    # The same form again. On the way to another page Streamlit leaves entries without what is bound in the browser's history: where one of
    # them leads back, what was typed counts, not that it isn't there.
    if context := get_script_run_ctx():
        context.is_history_navigation = False
    if (like, draft) != (begun.like, begun.draft) and not begun.run_id:  # by a link without its number
        query.update({name: value for name, value in (("like", begun.like), ("draft", begun.draft)) if value})


def _load(workspace: Workspace, like: str, draft: str) -> None:
    """Fill in the run or the draft of the address. Both may be anything."""
    begun = _begun()
    begun.like, begun.draft, begun.kept = "", "", PrivatePart()
    private = PrivatePart()
    try:
        if like:
            private = form_of(workspace, workspace.runs.get(like)).private
            begun.like, begun.kept = like, private
        if draft:
            private = _read(workspace, draft)
            begun.draft, begun.kept = draft, private
    except StudioError as error:
        st.warning(f"{escape(error.message)}  \n{escape(error.hint)}", icon=":material/link_off:")
    for name, value in (("like", begun.like), ("draft", begun.draft)):
        if not value and name in st.query_params:
            del st.query_params[name]
    if begun.draft:
        with _lock:
            if not _is_active(_editors.get(begun.draft, "")):  # before a reload it was another session
                _editors[begun.draft] = _session()
    _fill_in_private(private)


def _read(workspace: Workspace, draft: str) -> PrivatePart:
    text = Drafts(workspace.home).read(draft)
    try:
        private = from_json(text, PrivatePart)
    except (ValueError, SettingsError) as error:
        raise NotFound(f"The draft “{short(draft)}” can't be read.", "What was typed into this form is lost.") from error
    return replace(private, pair=private.pair if len(private.pair) == 2 else ())


def _empty_widgets(workspace: Workspace) -> None:
    """Give the widgets what they have at first, or what the address has. To forget what they have would not do: a browser shows, and sends,
    what it had before unless it is told something else."""
    state, query, options = st.session_state, st.query_params, _run_settings.offered(workspace)
    at_first: dict[str, Any] = {name: text_of(name, ParallelRunSettings.default(name)) for name in IN_ADDRESS}
    at_first |= {name: next(iter(options.get(name, ())), None) for name in ("environment", "compute_target")}
    at_first |= {"allow_reuse": True, "model": None, "dataset": None, "script": None}
    for name in [name for name in BOUND if name in state]:
        del state[name]
        if name not in query:
            state[name] = at_first[name]
    state.pop("proposed_script", None)
    _fill_in_private(PrivatePart())


def _fill_in_private(private: PrivatePart) -> None:
    state = st.session_state
    for name in PRIVATE_KEYS:
        value = getattr(private, name)
        state[name] = list(value) if isinstance(value, tuple) else value
    _fit.empty_choices()
    if private.pair:
        _fit.fill_in(_fit.prefix_of(*private.pair), private.choices)


def about_address(offered: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Sentences on what can't be filled in of the address, each with its field: "" for a name that no field has. `offered` are the options
    of the widgets that have such, by their keys; they take another value in its place without a word."""
    query = st.query_params
    if unknown := [name for name in query if name not in (*BOUND, *_OTHER)]:
        yield "", f"The address holds what this form does not have: {quoted(unknown)}. It is ignored."
    for name, options in offered.items():
        value = query.get(name, "")
        if value and value not in options:
            yield name, f"“{short(value)}” of the address is not one of the choices. Choose another."


# ---- another form --------------------------------------------------------------------------------------------------------------------


def open_form(workspace: Workspace, form: RunForm, like: str = "", base: PrivatePart | None = None) -> None:
    """Open this page again with another form. `base` is what `like` fills in by itself, where that is known: of just that no draft is
    written."""
    address = {"like": like, **form.to_address()} if like else form.to_address()
    if form.private != (base if like else PrivatePart()):
        address["draft"] = new_number()
        Drafts(workspace.home).save(address["draft"], to_json(form.private))
    _open(address)


def _open(address: dict[str, str]) -> NoReturn:
    begun = _begun()
    begun.is_new, begun.opened = True, address
    _given_values.start()
    last_submission().at = float("-inf")  # what is submitted from now on is another click's
    switch_page("new_run.py", query_params=address)


def open_run(workspace: Workspace, run_id: str) -> None:
    """Open this page with the request of a run; says so where there is no such run."""
    try:
        form = form_of(workspace, workspace.runs.get(run_id))
    except StudioError as error:
        _errors.show(error)
        st.query_params.pop("run", None)
        return
    open_form(workspace, form, run_id, form.private)


def form_of(workspace: Workspace, run: Run) -> RunForm:
    """The form that submits what this run was asked for, under the name that it has now. What was only tried again of another run is asked
    for whole."""
    run = for_a_form(workspace, run)
    request, inputs, scorer = run.request, [], scorer_at(run.request.entry_script)
    if scorer and request.models:
        try:
            inputs = [item.name for item in named_inputs(workspace.model_card(request.models[0], request.environment))]
        except StudioError:  # it is gone, which is said at its field
            scorer = None
    form = RunForm.from_request(request, script_label(workspace, run), inputs)
    if scorer and request.models and not form.private.as_written:
        try:
            options, rest = ScorerOptions.from_arguments(scorer, request.arguments, inputs)
            found = preflight(
                workspace, request.models, request.datasets, options, environment=request.environment, use_preset=False, approval=False
            ).fit  # fmt: skip
            if found.scorer == scorer and (*found.arguments, *rest) != request.arguments:  # it would get something else today
                private = replace(RunForm.from_request(replace(request, entry_script="as it is"), "").private, as_written=True)
                form = replace(form, private=private)
        except StudioError:
            pass
    private = form.private
    texts: dict[str, Any] = {name: displayable(value) for name, value in vars(private).items() if isinstance(value, str)}
    return replace(form, private=replace(private, **texts))


def script_label(workspace: Workspace, run: Run) -> str:
    """What the list of scripts calls the one of this run: one that isn't offered to everyone by the run too."""
    offered = {script.path: _workspace.script_label(script) for script in workspace.scripts.all()}
    return offered.get(run.request.entry_script) or displayable(f"{run.request.script_name} · {run.id}")


def show_origin(workspace: Workspace) -> Run | None:
    """The run whose request this form was opened with, which is said, and how to begin with an empty form."""
    begun = _begun()
    if not begun.like and not begun.draft:
        return None
    run: Run | None = None
    with st.container(horizontal=True, vertical_alignment="center"), suppress(StudioError):
        if begun.like:
            run = for_a_form(workspace, workspace.runs.get(begun.like))
            only = "what had failed" if run.request.failed_only else "what was new" if run.request.new_only else ""
            scope = f" That run scored only {only}; this form scores everything." if only else ""
            st.caption(escape(f"The settings of {run.title} ({run.id}).{scope}"), width="content")
        else:
            st.caption("What you began is kept for a week.", width="content")
        if st.button(
            "Start over", key="start-over", type="tertiary", icon=":material/restart_alt:", help="Empties the form. Back undoes it."
        ):
            _open({})
    return run


def like() -> str:
    """The id of the run whose request this form was opened with; "" where there is none."""
    return _begun().like


def name_in_address(**choices: str) -> None:
    """Put what is chosen into the address where it isn't yet: what was proposed Streamlit leaves out, though later something else may be
    proposed. All at once, since each message to the browser is an entry in its history; `script` is no bound widget, and sends it."""
    query, context = st.query_params, get_script_run_ctx()
    _begun().script = choices["script"]
    if context is None or all(query.get(name, "") == value for name, value in choices.items() if value):
        return
    with context.session_state.query_params() as address:
        for name, value in choices.items():
            if value:
                address.set_with_no_forward_msg(name, value)
    query["script"] = choices["script"]


# ---- keeping it ----------------------------------------------------------------------------------------------------------------------


def private_part(pair: tuple[str, ...]) -> PrivatePart:
    """What the widgets have now; of the choices for columns those for this model and dataset."""
    values = {name: st.session_state.get(name) for name in PRIVATE_KEYS}
    values |= {name: tuple(values[name] or ()) for name in ("more_models", "more_datasets")}
    given = {name: value for name, value in values.items() if value is not None}
    choices = _fit.choices_for(_fit.prefix_of(*pair)) if pair else {}
    return PrivatePart(**given, pair=pair if choices else (), choices=choices)


def keep(workspace: Workspace, private: PrivatePart) -> None:
    """Keep what is private of the form, where it changed: in a draft, whose number is in the address from then on. Another session may be
    open at the same draft, as where a tab was duplicated: then this one has its own from its first change on."""
    begun, session = _begun(), _session()
    if begun.run_id or _same(private, begun.kept):
        return
    with _lock:
        if not begun.draft or (_editors.get(begun.draft, session) != session and _is_active(_editors[begun.draft])):
            number = new_number()
        else:
            number = begun.draft
        _editors[number] = session
    try:
        Drafts(workspace.home).save(number, to_json(private))
    except StudioError as error:
        _errors.show(error)
        return
    begun.draft, begun.kept = number, private
    if st.query_params.get("draft") != number:
        st.query_params["draft"] = number


def submitted(workspace: Workspace, run: Run) -> None:
    """Remove the draft: the form became this run."""
    begun = _begun()
    begun.run_id = run.id
    if begun.draft:
        Drafts(workspace.home).remove(begun.draft)
        with _lock:
            _editors.pop(begun.draft, None)


def _same(one: PrivatePart, other: PrivatePart) -> bool:
    """Whether nothing differs that a person chose: for which pair there are no choices doesn't matter."""
    return replace(one, pair=one.pair if one.choices else ()) == replace(other, pair=other.pair if other.choices else ())


def _session() -> str:
    context = get_script_run_ctx()
    return context.session_id if context else ""


def _is_active(session: str) -> bool:
    return runtime.exists() and runtime.get_instance().is_active_session(session)
