"""Models of a remote workspace: registering one from the outputs of a training run; deleting one."""

from __future__ import annotations

import streamlit as st

from pages._forms import Form
from pages._text import displayable, escape
from services.domain import Model, TrainingRun
from services.workspace import RemoteWorkspace
from services.workspaces import chosen_workspace

TAB = "From a training run"
_CACHE_SECONDS = 120


@st.cache_data(ttl=_CACHE_SECONDS, max_entries=50, show_spinner="Loading experiments…")
def _experiments(location: str) -> list[str]:
    return _remote().experiments()


@st.cache_data(ttl=_CACHE_SECONDS, max_entries=50, show_spinner="Loading runs…")
def _runs(location: str, experiment: str) -> list[TrainingRun]:
    return _remote().training_runs(experiment)


@st.cache_data(ttl=_CACHE_SECONDS, max_entries=50, show_spinner="Loading files…")
def _files(location: str, experiment: str, run_id: str) -> list[str]:
    return _remote().training_run_files(experiment, run_id)


def _remote() -> RemoteWorkspace:
    remote = chosen_workspace().remote
    assert remote
    return remote


def ask(remote: RemoteWorkspace, form: Form) -> None:
    """Experiment, run, file; then the name to register."""
    source_column, name_column = st.columns([5, 4], gap="large")
    with source_column:
        experiments = _experiments(remote.location)
        if not experiments:
            st.info("No experiments in this workspace yet.", icon=":material/science:")
            return
        experiment = st.selectbox("Experiment", experiments, key="from-experiment")
        runs = _runs(remote.location, experiment) if experiment else []
        if not runs:
            st.info("No training runs in this experiment.", icon=":material/science:")
            return
        run = st.selectbox("Run", runs, key="from-run", format_func=lambda run: displayable(str(run)))
        files = _files(remote.location, run.experiment, run.id) if run else []
        outputs = [name for name in files if name.startswith("outputs/")] or files
        folders = sorted({name.rpartition("/")[0] for name in outputs if name.count("/") > 1})
        path = st.selectbox("Output file or folder", [*outputs, *folders], key="from-path", accept_new_options=True)
    with name_column:
        fields = {"name": st.container(), "path": source_column, "run": source_column}
        form.propose(path or "")
        with fields["name"]:
            name = form.ask_name()
        description = st.text_input("Description", key=form.key("from-description"), on_change="ignore", placeholder="optional")

    def register() -> str:
        assert run
        model = remote.register_model_from_run(name, run.experiment, run.id, path or "", description=description.strip())
        return model.reference

    form.submit(
        "Register model", "Registering the model from the run…", register, key="submit-from-run", progress=lambda: remote.state().message
    )
    form.show_error(fields, source_column)


def ask_deletion(remote: RemoteWorkspace, model: Model) -> None:
    """Deleting can't be undone, so it takes a confirmation."""
    with st.popover("Delete", icon=":material/delete:"):
        st.markdown(f"Delete **{escape(model.reference)}** from the workspace for everyone? Runs that used it are kept.")
        if st.button("Delete model", key=f"delete-{model.reference}", type="primary", icon=":material/delete_forever:"):
            with st.spinner("Deleting…"):
                remote.delete_model(model.reference)
            st.toast(f"Deleted **{escape(model.reference)}**", icon=":material/delete:")
            st.rerun()
