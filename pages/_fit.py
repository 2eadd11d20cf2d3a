"""New run: the model beside the dataset. Which built-in scorer fits, from which columns, with which options; the call as a script."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _environments, _errors, _given_values, _tables, _workspace
from pages._run_form import Choice, choices_of, options_of
from pages._text import displayable, escape, for_pages, truncate, visible
from services.domain import Dataset, ItemKind, Model, ModelCard, TabularDataset
from services.errors import StudioError
from services.file_names import proposed_name, quoted
from services.formats import counted
from services.preflight import Preflight, is_complete, preflight
from services.scoring.column_matching import ColumnMatch, FitProblem
from services.scoring.fit import Fit
from services.scoring.scorers import DATAFRAME_HEADER, NO_CHOICES, PROBABILITIES, Scorer
from services.scoring.script_source import standalone_script
from services.workspace import Capability, Workspace

MOST_OPTIONS = 2_000
"""Columns in a list to choose from; of more, the name is typed."""
MOST_SELECTS = 20
MOST_SHOWN = 5  # problems
_PROBABILITIES = dict(zip(PROBABILITIES, ("Of the prediction", "Of each class", "None"), strict=True))
VALUES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "size": ("Size", "Width and height that the model takes, such as 224x224.", ()),
    "layout": ("Layout", "NCHW: channels first, as PyTorch has it; NHWC: last, as Keras.", ("NCHW", "NHWC")),
    "color": ("Color", "RGB, BGR as OpenCV has it, or L for gray.", ("RGB", "BGR", "L")),
    "scale": ("Scale", "Each pixel, from 0 to 255, is multiplied by this, such as 1/255.", ()),
    "mean": ("Mean", "Subtracted after scaling, a number for each channel: 0.485,0.456,0.406.", ()),
    "std": ("Standard deviation", "Then divided by this, a number for each channel: 0.229,0.224,0.225.", ()),
    "labels": ("Labels", "The names of the classes in their order, with commas between them; or the path of a file with one per line.", ()),
    "header": ("Header", "Whether the files begin with a header.", ("auto", "on", "off")),
    "encoding": ("Encoding", "The encoding of the texts, such as utf-8 or cp1252.", ()),
}
"""The arguments of scorers that a person may have to give: label, help, and the choices where there are such."""
_CHOICES = ("ordered", "keep", "probabilities", "top", "more")
_UNLESS_SAID = {"mean": "0", "std": "1", "labels": "numbers from 0"}
"""What holds where neither the model nor a person says it."""


# ---- what was chosen -----------------------------------------------------------------------------------------------------------------


def prefix_of(model: str, dataset: str) -> str:
    """Of the keys of the widgets for this pair: what is chosen for one pair isn't for another."""
    return f"fit-{hashlib.sha256(f'{model} {dataset}'.encode()).hexdigest()[:12]}-"


def _prefix(model: Model, dataset: Dataset) -> str:
    return prefix_of(model.reference, dataset.reference)


def choices_for(prefix: str) -> dict[str, Choice]:
    """What was chosen in the widgets of a pair, by their names."""
    found = {str(key).removeprefix(prefix): value for key, value in st.session_state.items() if str(key).startswith(prefix)}
    chosen = {name: value for name, value in found.items() if name in _CHOICES or name.startswith(("input-", "value-"))}
    return {name: value for name, value in chosen.items() if value and (name, value) != ("probabilities", PROBABILITIES[0])}


def carry_over(model: str, dataset: str, other: str) -> None:
    """Fill in what is chosen for a dataset for another version of it."""
    if chosen := choices_for(prefix_of(model, dataset)):
        fill_in(prefix_of(model, other), chosen)


def fill_in(prefix: str, choices: Mapping[str, Choice]) -> None:
    """Give the widgets of a pair these choices; what was chosen for the model last is not applied then."""
    _given_values.put({f"{prefix}{name}": value for name, value in choices.items()})
    st.session_state[f"{prefix}preset"] = False


def empty_choices(prefix: str = "fit-") -> None:
    """Empty the widgets of a pair, or of all pairs. To forget their values would not do: a browser sends what it shows unless it gets
    something else."""
    for key, value in list(st.session_state.items()):
        name = str(key).removeprefix(prefix).partition("-")[2] if prefix == "fit-" else str(key).removeprefix(prefix)
        if not str(key).startswith(prefix):
            continue
        if name == "preset":
            del st.session_state[key]
        elif name in _CHOICES or name.startswith(("input-", "value-")):
            emptied: Any = PROBABILITIES[0] if name == "probabilities" else [] if isinstance(value, list) else None
            _given_values.put({str(key): emptied})


def _start_over(prefix: str) -> None:
    empty_choices(prefix)
    st.session_state[f"{prefix}preset"] = False


def look(
    workspace: Workspace, model: Model, dataset: Dataset, scorer: str, environment: str | None, *, more: tuple[Sequence[str], Sequence[str]]
) -> Preflight:
    """Whether it fits with what the widgets have now. `scorer` is that of a built-in script which a person chose, "" for the one that fits;
    `more` are further models and datasets of the run. Raises SettingsError for what was typed."""
    prefix = _prefix(model, dataset)
    models, datasets = [model.reference, *more[0]], [dataset.reference, *more[1]]
    if f"{prefix}preset" not in st.session_state:
        preset = workspace.presets.of(model.name)
        if preset != NO_CHOICES:
            found = preflight(workspace, [model.reference], [dataset.reference], NO_CHOICES, environment=environment, approval=False)
            preset = found.preset
            _given_values.propose({f"{prefix}{name}": value for name, value in choices_of(preset).items()})
        st.session_state[f"{prefix}preset"] = preset != NO_CHOICES
    options = options_of(choices_for(prefix), scorer)
    return preflight(workspace, models, datasets, options, environment=environment, use_preset=False, approval=False)


def keep_preset(workspace: Workspace, model: Model, dataset: Dataset) -> None:
    """Keep what was chosen, for the next time."""
    chosen = options_of(choices_for(_prefix(model, dataset)))
    if chosen != workspace.presets.of(model.name):
        workspace.presets.keep(model.name, chosen)


# ---- what is shown -------------------------------------------------------------------------------------------------------------------


def show(workspace: Workspace, found: Preflight, environment: str | None, dataset_section: DeltaGenerator) -> None:
    """The columns side by side, the choices of the scorer, warnings, and what may be done about them with one click."""
    dataset, result = found.datasets[0], found.fit
    prefix = _prefix(found.model, dataset)
    if st.session_state.get(f"{prefix}preset"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Your last choices for {escape(found.model.name)} are filled in.", width="content")
            st.button("Start over", key=f"{prefix}start-over", type="tertiary", on_click=_start_over, args=(prefix,))
    if isinstance(dataset, TabularDataset) and result.columns:
        _show_columns(prefix, result, found.card, dataset)
    if result.scorer and result.scorer.returns_dataframe:
        _show_choices(prefix, result.scorer, found.card, dataset)
    if result.extra:
        st.caption(escape(result.extra))
    if result.warnings:
        st.warning("\n\n".join(escape(for_pages(warning)) for warning in result.warnings), icon=":material/warning:")
    if dataset.item_kind is ItemKind.TABLE_FILE and any(problem.where == "dataset" for problem in result.problems):
        with dataset_section:
            _offer_table(workspace, dataset)
    if result.wants_environment:
        _environments.offer_for_model(workspace, found.model.reference)
    if not is_complete(found.card) and workspace.remote is None and found.model.usable:
        _inspect(workspace, found.model, environment, quiet=result.wants_environment)


def show_problems(problems: Sequence[FitProblem], fields: Mapping[str, DeltaGenerator], section: DeltaGenerator) -> None:
    """The first ones, each at its field."""
    for problem in problems[:MOST_SHOWN]:
        _errors.show(problem.error(), fields.get(problem.where, section))
    if len(problems) > MOST_SHOWN:
        section.caption(f"And {counted(len(problems) - MOST_SHOWN, 'problem')} more.")


def _shown(name: str) -> str:
    """A name from outside in a widget that takes no Markdown."""
    return displayable(truncate(visible(name, lines=False), 80))


def _show_columns(prefix: str, result: Fit, card: ModelCard, dataset: TabularDataset) -> None:
    matched = sum(match.column is not None for match in result.columns)
    inputs = counted(len(result.columns), "input")
    wrong = any(problem.where in ("inputs", "keep") for problem in result.problems)
    with st.expander(f"Columns: {matched:,} of {inputs} of the model", expanded=wrong, icon=":material/view_column:"):
        names = [name for name, _ in dataset.columns]
        if not card.inputs and card.feature_count is not None:
            _choose_in_order(prefix, len(result.columns), names)
        else:
            to_choose = _to_choose(prefix, result.columns)
            for first in range(0, len(to_choose), 2):
                for match, place in zip(to_choose[first : first + 2], st.columns(2), strict=False):
                    with place:
                        _choose_column(prefix, match, names)
            if len(result.columns) <= MOST_OPTIONS:
                st.multiselect(
                    "Choose another column for", [match.input for match in result.columns], key=f"{prefix}more", format_func=_shown,
                    placeholder="an input of the model", persist_state="session",
                )  # fmt: skip
        rows = [
            (_shown(match.input), match.type, "" if match.column is None else _shown(match.column), match.column_type, match.by)
            for match in result.columns
        ]
        columns = dict.fromkeys(("Model input", "Wanted", "Column", "Type", "Matched by"), str)
        _tables.show(columns, rows, "The model’s inputs and the columns of the dataset", 8, key=f"{prefix}columns")


def _to_choose(prefix: str, columns: tuple[ColumnMatch, ...]) -> list[ColumnMatch]:
    """The inputs that get a list of columns: those without one, of another type, or chosen."""
    more = set(st.session_state.get(f"{prefix}more") or ())
    wanted = [match for match in columns if match.column is None or match.impossible or match.by == "choice" or match.input in more]
    return wanted[:MOST_SELECTS]


def _choose_column(prefix: str, match: ColumnMatch, names: list[str]) -> None:
    label, key = escape(_shown(match.input)) + (f" ({match.type})" if match.type else ""), f"{prefix}input-{match.input}"
    if len(names) > MOST_OPTIONS:
        st.text_input(label, key=key, placeholder="the column’s name", persist_state="session")
        return
    if st.session_state.get(key) not in names:
        st.session_state.pop(key, None)
    placeholder = "Choose a column" if match.column is None else _shown(match.column)
    st.selectbox(label, names, None, key=key, format_func=_shown, placeholder=placeholder, persist_state="session")


def _choose_in_order(prefix: str, count: int, names: list[str]) -> None:
    """The model doesn't name its inputs: their columns, one after the other."""
    if len(names) > MOST_OPTIONS:
        st.caption(f"The model takes {counted(count, 'column')} and does not name them. Columns that are kept are not passed to it.")
        return
    help_text = "If empty: the columns of the table in their order, without those that are kept."
    _leave_out_missing(f"{prefix}ordered", names)
    st.multiselect(
        f"The {counted(count, 'column')} of the model, in its order", names, key=f"{prefix}ordered", format_func=_shown, help=help_text,
        placeholder="in the table’s order", max_selections=count, persist_state="session",
    )  # fmt: skip


def _leave_out_missing(key: str, names: list[str]) -> None:
    """Columns that were chosen once and that this dataset lacks: a list to choose from can't show them. Said, and left out."""
    chosen = st.session_state.get(key)
    if isinstance(chosen, list) and (missing := [name for name in chosen if name not in set(names)]):
        st.session_state[key] = [name for name in chosen if name not in missing]
        st.warning(
            escape(f"The dataset has no {'column' if len(missing) == 1 else 'columns'} {quoted(missing)}."), icon=":material/link_off:"
        )


def _show_choices(prefix: str, scorer: Scorer, card: ModelCard, dataset: Dataset) -> None:
    """The scorer's options: columns to keep, probabilities, its own arguments."""
    if scorer.tabular and isinstance(dataset, TabularDataset):
        names = [name for name, _ in dataset.columns]
        label, key = "Keep beside the prediction", f"{prefix}keep"
        if len(names) <= MOST_OPTIONS:
            _leave_out_missing(key, names)
            st.multiselect(label, names, key=key, format_func=_shown, placeholder="columns, such as a key", persist_state="session")
        else:
            if isinstance(kept := st.session_state.get(key), list):
                st.session_state[key] = "\n".join(kept)
            st.text_area(label, key=key, height=68, placeholder="names of columns, one per line", persist_state="session")
    if card.has_probabilities is not False and not card.task.endswith("regression"):
        left, right = st.columns(2)
        left.selectbox(
            "Probabilities", PROBABILITIES, key=f"{prefix}probabilities", format_func=_PROBABILITIES.__getitem__, persist_state="session"
        )
        help_text = "How many classes to give for each row, the likeliest first, each with its probability."
        right.text_input("Top classes", key=f"{prefix}top", placeholder="the likeliest", help=help_text, persist_state="session")
    own = [name for name in scorer.values if name in VALUES]
    unnamed = not card.classes and "labels" not in card.scorer_defaults
    if "labels" in own and unnamed and card.task == "classification":
        st.caption("The model does not name its classes: predictions are numbers from 0 unless you give Labels.")
    for first in range(0, len(own), 3):
        for name, place in zip(own[first : first + 3], st.columns(3), strict=False):
            label, help_text, options = VALUES[name]
            classes = ", ".join(card.classes[:20]) if name == "labels" else ""
            placeholder = _shown(card.scorer_defaults.get(name, "") or classes) or _UNLESS_SAID.get(name, "as the model says")
            common: dict[str, Any] = {"key": f"{prefix}value-{name}", "help": f"{help_text}  \n`--{name}`", "placeholder": placeholder}
            if options:
                place.selectbox(label, options, None, persist_state="session", **common)
            else:
                place.text_input(label, persist_state="session", **common)


def _offer_table(workspace: Workspace, dataset: Dataset) -> None:
    if st.button("Read it as a table", key="read-as-table", icon=":material/table_rows:"):
        try:
            with st.spinner("Reading the files…", show_time=True):
                made = workspace.reread_dataset(dataset.reference, "tabular")
        except StudioError as error:
            _errors.show(error)
        else:
            _given_values.choose({"dataset": made.reference})
            st.rerun()


# ---- what the model says of itself ---------------------------------------------------------------------------------------------------

_inspections: dict[tuple[str, str, str], Future[ModelCard]] = {}
_lock = threading.Lock()


def _inspect(workspace: Workspace, model: Model, environment: str | None, *, quiet: bool) -> None:
    """Load the model in a process of its environment, in the background; the page runs again when it has answered. `quiet` where it is
    said already what is missing there."""
    key = (str(workspace.home), model.sha256, environment or "")
    with _lock:
        future = _inspections.get(key)
        if future is None:
            future = _inspections[key] = Future()
            threading.Thread(target=_work, args=(future, workspace, model.reference, environment), daemon=True).start()
    if not future.done():
        _wait(key)
        return
    error = future.exception()
    if isinstance(error, StudioError):
        _errors.show(error)
        if st.button("Look again", key=f"inspect-{model.sha256}", icon=":material/refresh:"):
            _inspections.pop(key, None)
            st.rerun()
    elif future.result().inspected_in is None and not quiet:  # a package is missing there
        for note in future.result().notes[:1]:
            st.info(escape(note), icon=":material/info:")


def _work(future: Future[ModelCard], workspace: Workspace, reference: str, environment: str | None) -> None:
    try:
        future.set_result(workspace.inspect_model(reference, environment))
    except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
        future.set_exception(error)


@st.fragment(run_every=0.4)
def _wait(key: tuple[str, str, str]) -> None:
    future = _inspections.get(key)
    if future is None or future.done():
        st.rerun()
    st.caption(":material/hourglass_top: Looking at the model: its inputs and classes…")


# ---- the call as a script ------------------------------------------------------------------------------------------------------------


def show_script(workspace: Workspace, found: Preflight) -> None:
    """The generated call as code to read, save, and use as a script of one's own."""
    scorer = found.fit.scorer
    if scorer is None or not st.toggle("Show the script", key="show-script"):
        return
    source = standalone_script(scorer, found.fit.options)
    name = f"{proposed_name(found.model.name + '.') or 'model'}_{scorer.name}.py"
    st.caption("What runs, with your choices at its head. It needs no other file: save it and change it.")
    st.code(source, language="python", height=300)
    with st.container(horizontal=True):
        st.download_button("Download", source, name, "text/x-python", icon=":material/download:", on_click="ignore")
        if st.button("Use as my own script", key="own-script", icon=":material/edit_document:"):
            try:
                script = workspace.scripts.add(name, source.encode())
            except StudioError as error:
                _errors.show(error)
                return
            if Capability.APPROVAL in workspace.capabilities:
                workspace.approve(script.sha256)  # it is what this program has just made
            header = " ".join(DATAFRAME_HEADER) if scorer.returns_dataframe else ""
            _given_values.choose({"script": _workspace.script_label(script), "arguments": header, "as_written": False})
            st.rerun()
