"""New run: the widgets of the settings, of what else the script gets, and of where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _errors
from pages._run_form import IN_ADDRESS
from pages._text import escape, truncate
from services.domain import Dataset, Environment, Model
from services.errors import SettingsError, StudioError
from services.file_names import quoted, safe_relative_path, short
from services.intake import uploads
from services.intake.staging import staging_folder
from services.settings import TABLE, ParallelRunSettings
from services.workspace import RemoteWorkspace, Workspace

OWN, MADE_FOR_IT = "this program's own", "made for the run"
_LONGEST = 200
"""Characters of a setting that the address has: those of the longest name of an output file."""


def default_environment(workspace: Workspace) -> str:
    """What the list of environments calls the one of a run that names none."""
    return MADE_FOR_IT if workspace.remote else OWN


def offered(workspace: Workspace) -> dict[str, list[str]]:
    """The options of the widgets here that have such, by their keys: what an address may name."""
    options = {name: list(row.options) for name, row in TABLE.items() if row.options}
    options["environment"] = [default_environment(workspace), *map(str, workspace.environments())]
    if workspace.remote:
        options["compute_target"] = [target.name for target in workspace.remote.compute_targets() if target.usable]
    return options | {"allow_reuse": ["true", "false", "True", "False"]}


def ask_up_front(fields: dict[str, DeltaGenerator], notes: Mapping[str, str]) -> dict[str, Any]:
    """The settings that are not folded away, by their names."""
    return _side_by_side([name for name, row in TABLE.items() if row.up_front], fields, notes)


def ask_folded(fields: dict[str, DeltaGenerator], notes: Mapping[str, str]) -> dict[str, Any]:
    """The others."""
    values: dict[str, Any] = {}
    folded = [name for name, row in TABLE.items() if not row.up_front]
    for first in range(0, len(folded), 2):
        values |= _side_by_side(folded[first : first + 2], fields, notes)
    return values


def _side_by_side(names: list[str], fields: dict[str, DeltaGenerator], notes: Mapping[str, str]) -> dict[str, Any]:
    """These settings in one row, and a place for their errors below it."""
    values = {}
    for name, column in zip(names, st.columns(len(names)), strict=True):
        with column:
            values[name] = _setting(name)
    place = st.container(gap="xsmall")
    for name in names:
        fields[name] = place
        note(place, notes.get(name))
    return values


def _setting(name: str) -> Any:
    """The widget of one setting. A number is typed as text: a number field would round it, or keep an older value, silently."""
    options = ParallelRunSettings.widget(name) | ({"bind": "query-params"} if name in IN_ADDRESS else {"persist_state": "session"})
    if name == "environment_variables":
        return st.text_area(height=68, **options)
    if TABLE[name].options:
        return st.selectbox(**options)
    value = options["value"]
    options = {key: option for key, option in options.items() if key not in ("min_value", "max_value", "step")}
    if name in IN_ADDRESS:
        options["max_chars"] = _LONGEST
    return st.text_input(**options | {"value": "" if value is None else str(value)})


def ask_environment(workspace: Workspace, scored_model: str | None, odd: str | None) -> str | None:
    """The reference of the environment that is chosen; None for the default one, which elsewhere has what `scored_model` needs."""
    registered = {str(environment): environment for environment in workspace.environments()}
    options, help_text = (
        [default_environment(workspace), *registered],
        "The Python that runs the workers. Make others on the Connection page.",
    )
    chosen = st.selectbox("Environment", options, key="environment", help=help_text, bind="query-params")
    note(st.container(), odd)
    environment = registered.get(chosen)
    if workspace.remote:
        _show_environment(workspace.remote, environment or workspace.environment(None, scored_model=scored_model))
    return environment.reference if environment else None


def ask_what_the_script_gets(fields: dict[str, DeltaGenerator]) -> None:
    """Arguments, and what else it finds: its modules and side inputs."""
    help_text = "Passed to the scoring script in sys.argv, written as on a command line: --name value."
    options: dict[str, Any] = {"key": "arguments", "help": help_text, "placeholder": "none", "persist_state": "session"}
    if any(character in st.session_state.get("arguments", "") for character in "\r\n"):
        st.text_area("Arguments", height=98, **options)
    else:
        st.text_input("Arguments", **options)
    fields["arguments"] = st.container(gap="xsmall")
    left, right = st.columns(2)
    help_text = "A folder on this machine whose Python files the script imports. Without one: those beside the script."
    left.text_input("Source directory", key="source_directory", help=help_text, placeholder="the script's own", persist_state="session")
    help_text = "Datasets that the script reads beside what it scores, one NAME=dataset per line: it finds their folders in --NAME."
    right.text_area("Side inputs", key="side_inputs", help=help_text, height=68, placeholder="none", persist_state="session")
    fields["source_directory"] = fields["side_inputs"] = st.container(gap="xsmall")


def further(models: Mapping[str, Model], datasets: Mapping[str, Dataset]) -> tuple[list[str], list[str]]:
    """The further models and datasets of the run that are there."""
    chosen = [st.session_state.get(key) or [] for key in ("more_models", "more_datasets")]
    return [name for name in chosen[0] if name in models], [name for name in chosen[1] if name in datasets]


def ask_further(models: Mapping[str, Model], datasets: Mapping[str, Dataset], taken: tuple[str | None, str | None]) -> None:
    """Further models and datasets of the run. What was chosen and is not there any more is said, and left out."""
    labels = {
        "more_models": ("Further models", "The script finds them by their names. A built-in script takes one model."),
        "more_datasets": ("Further datasets", "Scored in the same run, after the one above."),
    }
    for key, known, chosen, place in zip(labels, (models, datasets), taken, st.columns(2), strict=True):
        label, help_text = labels[key]
        options = [reference for reference in known if reference != chosen]
        before = st.session_state.get(key) or []
        if any(reference not in options for reference in before):
            st.session_state[key] = [reference for reference in before if reference in options]
        place.multiselect(label, options, key=key, help=help_text, placeholder="none", persist_state="session")
        if gone := [reference for reference in before if reference not in known]:
            note(place, f"{quoted(gone)} no longer {'exists' if len(gone) == 1 else 'exist'}.")


def check_side_inputs(given: Mapping[str, str], datasets: Mapping[str, Dataset]) -> None:
    """Whether the datasets are there. Raises SettingsError."""
    names = {dataset.name for dataset in datasets.values()}
    for name, reference in given.items():
        if reference not in datasets and reference not in names:
            text = f"there is no dataset “{short(reference)}” for the side input {short(name)}"
            raise SettingsError("side_inputs", text, "Name a registered dataset, such as: lookup=prices:1.")


def ask_compute_target(remote: RemoteWorkspace, fields: dict[str, DeltaGenerator], notes: Mapping[str, str]) -> str | None:
    """A usable compute target. Errors of the field `compute_target` go below it."""
    targets = {target.name: target for target in remote.compute_targets() if target.usable}
    help_text = "The cluster that executes the run, on as many nodes as Node count says."
    chosen = st.selectbox(
        "Compute target", list(targets), key="compute_target", help=help_text, bind="query-params", placeholder="no clusters found",
    )  # fmt: skip
    if chosen:
        st.caption(escape(targets[chosen].describe()))
    fields["compute_target"] = st.container(gap="xsmall")
    note(fields["compute_target"], notes.get("compute_target"))
    return chosen


def note(place: DeltaGenerator, sentence: str | None) -> None:
    """What is odd about a field, in plain words; nothing where there is nothing."""
    if sentence:
        place.warning(escape(sentence), icon=":material/link_off:")


def _show_environment(remote: RemoteWorkspace, environment: Environment) -> None:
    """The interpreter and packages of the run; and a way to register others."""
    pins = ", ".join(f"{name} {number}".strip() for name, number in environment.packages.items()) or "the packages of its image"
    python = f"Python {environment.python_version}" if environment.python_version else environment.interpreter
    st.caption(escape(f"{python} with {truncate(pins, 400)}"))
    with st.popover("From a conda file", icon=":material/upload:"):
        name = st.text_input("Name", key="environment_name", placeholder="batch-env", on_change="ignore")
        upload = st.file_uploader("Conda file", type=["yml", "yaml"], key="environment_file", on_change="ignore")
        if st.button("Register environment", key="register-environment", icon=":material/add:"):
            if upload is None:
                st.error("Choose a conda file first.")
                return
            try:
                with st.spinner("Registering…"), staging_folder(remote.home) as folder:
                    uploads.store_uploads([(upload.name, upload)], folder)
                    registered = remote.register_environment(name.strip(), str(folder / safe_relative_path(upload.name)))
            except StudioError as error:
                _errors.show(error)
            else:
                st.toast(f"Registered **{escape(str(registered))}**. Choose it above.", icon=":material/check_circle:")
                st.rerun()
