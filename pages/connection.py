"""Connection: which workspace this is, where it lies, whether it works, and how to choose another."""

from __future__ import annotations

import streamlit as st

from pages import _azure_connection, _shared
from services import INSTALLED
from services.workspace import Workspace
from services.workspaces import choose_workspace

START, START_ON_WINDOWS = ("batch-scoring-studio",) * 2 if INSTALLED else ("make run", r".venv\Scripts\python app.py")
CHOOSE = f"BATCH_SCORING_HOME=/path/to/folder {START}"
CHOOSE_ON_WINDOWS = f"$env:BATCH_SCORING_HOME = 'C:\\path\\to\\folder'; {START_ON_WINDOWS}"
HERE, AZURE = "This machine", "Azure ML"


def show_local(workspace: Workspace) -> None:
    st.text("All of it lies in one folder of this machine. There is no account, and nothing leaves the machine.")
    st.code(_shared.shown(workspace.location), language=None, wrap_lines=True)
    _shared.self_check_table(list(workspace.self_check()))
    st.button("Check again", key="check-again", icon=":material/refresh:")


def offer_local() -> None:
    st.text("Models, datasets and runs of this machine. There is no account, and nothing leaves the machine.")
    st.button("Work on this machine", key="use-local", type="primary", icon=":material/computer:", on_click=use_local)


def use_local() -> None:
    choose_workspace(None)
    _shared.forget_choices()


def how_to_move() -> None:
    st.subheader("Use another folder", icon=":material/drive_file_move:", anchor=False)
    st.text("Stop the dashboard, and start it with the folder in the variable BATCH_SCORING_HOME. Runs that go on are not disturbed.")
    st.code(CHOOSE, language="bash")
    st.code(CHOOSE_ON_WINDOWS, language="powershell")


_shared.title("Connection", "Which workspace keeps the models, datasets and runs, and whether all that it needs is there.")
workspace, remote = None, None
with _shared.errors_shown():  # how to choose another is wanted most when this one can't be opened
    workspace = _shared.workspace()
    remote = workspace.remote
now = AZURE if remote else HERE
st.session_state.setdefault("where", now)
where = st.segmented_control("Work in", [HERE, AZURE], key="where", required=True, label_visibility="collapsed")
with _shared.errors_shown():
    if where == HERE and remote:
        offer_local()
    elif where == HERE:
        if workspace:
            show_local(workspace)
        how_to_move()
    else:
        _azure_connection.show(remote)
