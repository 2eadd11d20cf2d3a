"""Models: the registered ones and their approval; registering another."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import streamlit as st

from pages import _environments, _keeping, _layout, _lineage, _model_card, _tables, _workspace
from pages._forms import Form, form_called
from pages._text import displayable, local_time
from services import formats
from services.domain import Model, ResourceKind
from services.errors import SettingsError
from services.file_names import safe_relative_path
from services.formats import counted
from services.intake import uploads
from services.intake.model_files import may_be_model
from services.intake.staging import staging_folder
from services.remote import TrainingRun
from services.workspace import Capability, RemoteWorkspace
from services.workspaces import chosen_workspace

REGISTERED, REGISTER, FROM_A_RUN = "Registered", "Register a model", "From a training run"
CACHE_SECONDS = 120
UPLOAD, ON_THIS_MACHINE = "Upload a file", "On this machine"


def approval(model: Model) -> str:
    return "approved" if model.approved else "not approved" if model.needs_approval else "not needed"


def show_models() -> None:
    """The newest version of each model in a table, and below it one version in full."""
    if not models:
        if not _workspace.not_listed_yet():
            text = "No models registered yet. Register the file your training script saved."
            _keeping.empty(text, "Register a model", REGISTER, ":material/model_training:")
        return
    listing = _keeping.listing_of(workspace, ResourceKind.MODEL, models)
    if model := _keeping.choose(workspace, listing, columns()):
        _keeping.actions(workspace, listing, model, register_again=lambda: register_again(model))
        show_details(model, listing)


def columns() -> _keeping.Columns[Model]:
    types: dict[str, type] = {"Model": str, "Version": int, "Kind": str, "Size": int, "Registered": datetime}
    config = {
        "Model": st.column_config.TextColumn(width=180),
        "Version": st.column_config.NumberColumn(width=65),
        "Kind": st.column_config.TextColumn(width=150),
        "Size": st.column_config.NumberColumn(format="bytes", width=90),
        "Registered": _tables.time_column(),
        "Approval": st.column_config.TextColumn(width=110),
    }
    if Capability.APPROVAL not in workspace.capabilities:
        return _keeping.Columns(types, lambda m: (m.name, m.version, m.kind, m.size or None, m.created_at), config)
    types["Approval"] = str
    return _keeping.Columns(types, lambda m: (m.name, m.version, m.kind, m.size or None, m.created_at, approval(m)), config)


def show_details(model: Model, listing: _keeping.Listing[Model]) -> None:
    """One version: its properties, its approval, its other versions."""
    with st.container(border=True):
        _keeping.show_said(listing, model)
        _layout.facts(
            {
                "Kind": model.kind,
                "Size": formats.size(model.size),
                "Registered": local_time(model.created_at),
                **({"Approval": approval(model)} if Capability.APPROVAL in workspace.capabilities else {}),
                **({} if "://" in model.path else {"File": Path(model.path).name}),
            }
        )
        card = _model_card.show(workspace, model)
        if model.usable or Capability.APPROVAL not in workspace.capabilities:
            if model.sha256:
                _layout.labelled("SHA-256", model.sha256)
            if st.button("Use in a new run", key=f"use-{model.reference}", type="primary", icon=":material/play_circle:"):
                _workspace.open_new_run(model=model.reference)
            if card:
                _environments.offer_environment(workspace, model, card, say_why=not card.warnings)
        else:
            warning = "This model can run code: a run that loads it executes its content with your permissions."
            if model.kind == "skops":
                warning = "This model makes objects of types that skops does not trust, which may run code as it is loaded: see below."
            _workspace.ask_approval(warning, model.sha256, f"Approve {model.sha256[:12]}…", type="primary")
        if model.imports:
            at_least = "" if model.scanned_whole else "at least "
            ask_for_types = model.kind == "skops" and not model.usable
            what = "Types that skops does not trust" if model.kind == "skops" else "Imports when loaded"
            with st.expander(
                f"{what}: {at_least}{counted(len(model.imports), 'name')}", icon=":material/data_object:", expanded=ask_for_types
            ):
                st.code(displayable("\n".join(model.imports)), language=None, height=220 if len(model.imports) > 8 else "content")
        versions = [other for other in models if other.name == model.name]
        if len(versions) > 1:
            with st.expander(f"All {len(versions)} versions", icon=":material/history:"):
                show_versions(versions)
    _lineage.show_of_resource(workspace, ResourceKind.MODEL, model.reference)


def register_again(model: Model) -> None:
    """Open the form for the same file under another name."""
    st.session_state["tab"] = REGISTER
    if not remote:
        st.session_state[form.key("source")], st.session_state[form.key("path")] = ON_THIS_MACHINE, model.path
    st.session_state[form.key("description")] = displayable(model.description)
    st.session_state[form.key("tags")] = displayable("\n".join(_keeping.tags_as_lines(model.tags)))


def show_versions(versions: list[Model]) -> None:
    columns = {"Version": int, "Registered": datetime, "Size": int, "Approval": str, "SHA-256": str, "Description": str}
    rows = [(m.version, m.created_at, m.size, approval(m), m.sha256, m.description) for m in versions]
    config = {
        "Version": st.column_config.NumberColumn(width=70),
        "Registered": _tables.time_column(),
        "Size": st.column_config.NumberColumn(format="bytes", width=90),
        "SHA-256": st.column_config.TextColumn(width=200),
    }
    _tables.show(columns, rows, "All versions of this model", key="versions", column_config=config)


def ask_for_model() -> None:
    """The form: the source of the model, and the name to register."""
    source_column, name_column = st.container(key="form_in_two").columns([5, 4], gap="large")
    upload, path = None, ""
    with source_column:
        source = st.segmented_control("Source", [UPLOAD, ON_THIS_MACHINE], key=form.key("source"), default=UPLOAD, required=True)
        place = st.container()
        if source == UPLOAD:
            upload = place.file_uploader("Model file", **form.proposing("upload"))
        else:
            path = place.text_input("Path of a file or folder", placeholder="/home/me/models/model.joblib", **form.proposing("path"))
        st.caption(
            "The kind of model is detected from its content. The dashboard never loads it. For an MLflow model, upload a zip of its folder."
        )
    with name_column:
        fields = {"path": place, "name": st.container(), "description": st.container(), "tags": st.container()}
        with fields["name"]:
            name = form.ask_name()
        with fields["description"]:
            description = form.ask_description()
        with fields["tags"]:
            options: dict[str, Any] = {"key": form.key("tags"), "on_change": form.on_change, "placeholder": "optional"}
            tags = st.text_area("Tags", height=80, help="One NAME=VALUE per line.", **options)

    def register() -> str:
        given: dict[str, Any] = {"description": description, "tags": _keeping.tags_of(tags)}
        if upload:
            with staging_folder(workspace.home) as folder:
                uploads.store_uploads([(upload.name, upload)], folder)
                return workspace.register_model(name, folder / safe_relative_path(upload.name), **given).reference
        if path.strip():
            return workspace.register_model(name, path.strip(), **given).reference
        raise SettingsError("path", "No model is chosen", "Choose the file your training script saved and wait for the upload to finish.")

    form.submit("Register model", "Copying, inspecting and hashing the model…", register, fields)


# ---- from a training run -----------------------------------------------------------------------------------------------------------------


@st.cache_data(ttl=CACHE_SECONDS, max_entries=50, show_spinner="Loading experiments…")
def experiments_of(home: str, _remote: RemoteWorkspace) -> list[str]:
    return _remote.experiments()


@st.cache_data(ttl=CACHE_SECONDS, max_entries=50, show_spinner="Loading runs…")
def runs_of(home: str, experiment: str, _remote: RemoteWorkspace) -> list[TrainingRun]:
    return _remote.training_runs(experiment)


@st.cache_data(ttl=CACHE_SECONDS, max_entries=50, show_spinner="Loading files…")
def files_of(home: str, experiment: str, run_id: str, _remote: RemoteWorkspace) -> list[str]:
    return _remote.training_run_files(experiment, run_id)


def ask_for_run(remote: RemoteWorkspace, form: Form) -> None:
    """Experiment, run, file; then the name to register."""
    source_column, name_column = st.container(key="form_in_two_of_a_run").columns([5, 4], gap="large")
    with source_column:
        experiments = experiments_of(str(remote.home), remote)
        if not experiments:
            st.info("No experiments in this workspace yet.", icon=":material/science:")
            return
        experiment = st.selectbox("Experiment", experiments, key="from-experiment")
        runs = runs_of(str(remote.home), experiment, remote) if experiment else []
        if not runs:
            st.info("No training runs in this experiment.", icon=":material/science:")
            return
        run = st.selectbox("Run", runs, key="from-run", format_func=lambda run: displayable(str(run)))
        files = files_of(str(remote.home), run.experiment, run.id, remote) if run else []
        outputs = [name for name in files if name.startswith("outputs/")] or files
        folders = sorted({name.rpartition("/")[0] for name in outputs if name.count("/") > 1})
        choices = sorted([*outputs, *folders], key=lambda name: not may_be_model(name, outputs))
        first = 0 if choices and may_be_model(choices[0], outputs) else None
        options: dict[str, Any] = {"index": first, "placeholder": "Choose the model", "accept_new_options": True}
        path = st.selectbox("Output file or folder", choices, key="from-path", **options)
    with name_column:
        fields = {"name": st.container(), "path": source_column, "run": source_column}
        form.propose(path or "")
        with fields["name"]:
            name = form.ask_name()
        description = form.ask_description()

    def register() -> str:
        assert run
        model = remote.register_model_from_run(name, run.experiment, run.id, path or "", description=description)
        return model.reference

    form.submit("Register model", "Registering the model from the run…", register, fields)


# ---- the page ----------------------------------------------------------------------------------------------------------------------------

_layout.title("Models", "Trained models. Registering one under an existing name adds a version.")
workspace = chosen_workspace()
form, from_run = form_called("model"), form_called("from-run")
form.registered, from_run.registered = form.registered or from_run.registered, ""
form.show_registered(REGISTERED)
_keeping.show_done()
models = workspace.models()
remote = workspace.remote
tabs = [REGISTERED, REGISTER, *([FROM_A_RUN] if remote else [])]
registered, register, *from_a_run = st.tabs(tabs, key="tab", bind="query-params", on_change="rerun")
with registered:
    if registered.open:
        show_models()
with register:
    ask_for_model()
for tab in from_a_run:
    if tab.open and remote:
        with tab:
            ask_for_run(remote, from_run)
