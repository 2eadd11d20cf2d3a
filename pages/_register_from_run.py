"""Models of a workspace elsewhere: one registered from the outputs of a training run; one deleted."""

from __future__ import annotations

import streamlit as st

from pages import _shared
from pages._form import Form
from services.domain import Model, TrainingRun
from services.workspace import RemoteWorkspace

TAB = "From a training run"
_KEPT = 120  # seconds


@st.cache_data(ttl=_KEPT, max_entries=50, show_spinner="Asking for the experiments …")
def _experiments(location: str) -> list[str]:
    return _asked().experiments()


@st.cache_data(ttl=_KEPT, max_entries=50, show_spinner="Asking for its runs …")
def _runs(location: str, experiment: str) -> list[TrainingRun]:
    return _asked().training_runs(experiment)


@st.cache_data(ttl=_KEPT, max_entries=50, show_spinner="Asking for the run's files …")
def _files(location: str, experiment: str, run_id: str) -> list[str]:
    return _asked().training_run_files(experiment, run_id)


def _asked() -> RemoteWorkspace:

    remote = _shared.workspace().remote
    assert remote
    return remote


def ask(remote: RemoteWorkspace, form: Form) -> None:
    """Experiment, run, file; then what the model is to be called."""
    where, what = st.columns([5, 4], gap="large")
    with where:
        experiments = _experiments(remote.location)
        if not experiments:
            st.info("There is no experiment in this workspace yet.", icon=":material/science:")
            return
        experiment = st.selectbox("Experiment", experiments, key="from-experiment")
        runs = _runs(remote.location, experiment) if experiment else []
        if not runs:
            st.info("This experiment has no training run: its runs are pipelines, or there are none.", icon=":material/science:")
            return
        run = st.selectbox("Run", runs, key="from-run", format_func=lambda run: _shared.shown(str(run)))
        files = _files(remote.location, run.experiment, run.id) if run else []
        outputs = [name for name in files if name.startswith("outputs/")] or files
        folders = sorted({name.rpartition("/")[0] for name in outputs if name.count("/") > 1})
        path = st.selectbox("File or folder of its outputs", [*outputs, *folders], key="from-path", accept_new_options=True)
    with what:
        fields = {"name": st.container(), "path": where, "run": where}
        form.propose(path or "")
        with fields["name"]:
            name = form.ask_name()
        description = st.text_input("Description", key=form.key("from-description"), on_change="ignore", placeholder="optional")

    def register() -> str:
        assert run
        model = remote.register_model_from_run(name, run.experiment, run.id, path or "", description=description.strip())
        return model.reference

    form.submit("Register model", "Registering it from the run …", register, key="submit-from-run", progress=lambda: remote.state().message)
    form.show_error(fields, where)


def ask_deletion(remote: RemoteWorkspace, model: Model) -> None:
    """Deleting is for ever, so it is said twice."""
    with st.popover("Delete", icon=":material/delete:"):
        st.markdown(f"Delete **{_shared.plain(model.reference)}** from the workspace, for everybody? Runs that used it stay.")
        if st.button("Delete it", key=f"delete-{model.reference}", type="primary", icon=":material/delete_forever:"):
            with st.spinner("Deleting …"):
                remote.delete_model(model.reference)
            st.toast(f"Deleted **{_shared.plain(model.reference)}**", icon=":material/delete:")
            st.rerun()
