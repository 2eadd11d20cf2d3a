"""Models: what a model is, in words: what it predicts, of what, what it was made with and needs; and inspecting it in an environment."""

from __future__ import annotations

import streamlit as st

from pages import _errors, _layout, _tables
from pages._text import escape
from services.domain import ItemKind, Model, ModelCard, ModelInput
from services.formats import counted
from services.workspace import Capability, Workspace

_FORMATS = {
    "scikit-learn": "pickle", "skops": "skops", "onnx": "ONNX", "xgboost": "XGBoost", "lightgbm": "LightGBM", "catboost": "CatBoost",
    "mlflow": "MLflow", "keras": "Keras", "torchscript": "TorchScript", "torch-export": "exported PyTorch program", "torch": "PyTorch",
    "unknown": "not known",
}  # fmt: skip
_VERBS = {
    "classification": "Predicts a class",
    "regression": "Predicts a number",
    "clustering": "Finds the cluster",
    "outlier detection": "Finds outliers",
    "multi-output classification": "Predicts several classes",
    "multi-output regression": "Predicts several numbers",
    "transformation": "Transforms what it gets",
}
_OWN = "This program’s own"
_MOST_CLASSES_NAMED = 12


def show(workspace: Workspace, model: Model) -> ModelCard | None:
    """The card of a model, and below it a button that inspects it. Returns the card where an environment is to be offered for it."""
    place = st.container()
    is_local = Capability.APPROVAL in workspace.capabilities
    environment: str | None = None
    card: ModelCard | None = None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if is_local and (others := [one.reference for one in workspace.environments()]):
            chosen = st.selectbox("Inspect it in environment", [_OWN, *others], key="inspect-environment", width=320)
            environment = chosen if chosen in others else None
        help_text = (
            "Loads the model in a separate process to see what it takes and returns." if is_local else "Fetches its file and reads it."
        )
        help_text = help_text if model.usable or not is_local else "A model that can run code is loaded only after it is approved."
        pressed = st.button(
            "Inspect",
            key=f"inspect-{model.reference}",
            icon=":material/frame_inspect:",
            help=help_text,
            disabled=is_local and not model.usable,
        )
    offers = is_local and model.usable and environment is None
    with place, _errors.shown():
        if pressed:
            with st.spinner("Loading the model in a separate process…" if is_local else "Fetching and reading the model…"):
                card = workspace.inspect_model(model.reference, environment)
    with place, _errors.shown():
        card = card or workspace.model_card(model.reference, environment)
        _show_card(model, card)
    return card if offers else None


def summary(card: ModelCard) -> str:
    """One sentence; "" where nothing is known: `Predicts one of 3 classes, with probabilities, from 4 columns.`"""
    verb = f"Predicts one of {len(card.classes):,} classes" if card.classes and card.task == "classification" else ""
    verb = verb or _VERBS.get(card.task, "")
    parts = [verb] if verb else []
    if verb and card.has_probabilities is not None and card.task.endswith("classification"):
        parts.append("with probabilities" if card.has_probabilities else "without probabilities")
    if card.feature_count and ItemKind.TEXT not in card.takes:
        parts.append(f"{'from' if verb else 'Takes'} {counted(card.feature_count, 'column')}")
    return f"{', '.join(parts)}." if parts else ""


def describe_shape(one: ModelInput) -> str:
    return " × ".join("any" if size is None else f"{size}" for size in one.shape)


def _show_card(model: Model, card: ModelCard) -> None:
    if sentence := summary(card):
        st.text(sentence)
    format_ = _FORMATS.get(card.format, card.format)
    made_with = f"{card.framework} {card.framework_version}".strip()
    values = {
        "Format": "" if format_.lower() in model.kind.lower() else format_,
        "Made with": made_with,
        "Task": card.task.capitalize(),
        "Columns": f"{card.feature_count:,}" if card.feature_count is not None else "",
        "Python": card.python_version,
        "Scorer settings": ", ".join(f"{name} {value}" for name, value in card.scorer_defaults.items()),
        "Loaded in": "" if card.inspected_in is None else card.inspected_in or _OWN,
    }
    if known := {name: value for name, value in values.items() if value}:
        _layout.facts(known)
    if card.takes:
        _layout.wrapped("Takes", ", or ".join(card.takes))
    if card.classes:
        _show_list("Classes", card.classes)
    if card.requirements:
        _show_list("Needs", card.requirements)
    if card.inputs:
        _show_inputs(card)
    for warning in card.warnings[:20]:
        st.warning(escape(warning), icon=":material/warning:")
    for note in card.notes[:20]:
        st.caption(escape(note))


def _show_list(label: str, values: tuple[str, ...]) -> None:
    more = len(values) - _MOST_CLASSES_NAMED
    shown = [value if len(value) <= 60 else f"{value[:58]}…" for value in values[:_MOST_CLASSES_NAMED]]
    label = f"{label} ({len(values):,})" if len(values) > 1 else label
    _layout.wrapped(label, ", ".join(shown) + (f" and {more:,} more" if more > 0 else ""))


def _show_inputs(card: ModelCard) -> None:
    tensors = any(one.shape for one in card.inputs)
    columns = {"Input": str, "Type": str} | ({"Shape": str} if tensors else {})
    rows = [(one.name, one.type, *((describe_shape(one),) if tensors else ())) for one in card.inputs[:10_000]]
    with st.expander(f"Inputs: {counted(len(card.inputs), 'input')}", icon=":material/input:", expanded=len(card.inputs) <= 6):
        config = {"Input": st.column_config.TextColumn(width=260), "Type": st.column_config.TextColumn(width=110)}
        _tables.show(columns, rows, "What this model takes", most=8, key="model-inputs", column_config=config)
