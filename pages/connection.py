"""Connection: the open workspace, its location and checks; choosing another."""

from __future__ import annotations

import streamlit as st

from pages import _azure_connection, _environments, _errors, _layout, _workspace
from pages._text import displayable
from services import INSTALLED
from services.workspace import Workspace
from services.workspaces import choose_workspace, chosen_workspace

START, START_ON_WINDOWS = ("batch-scoring-studio",) * 2 if INSTALLED else ("make run", r".venv\Scripts\python app.py")
COMMAND = f"BATCH_SCORING_HOME=/path/to/folder {START}"
COMMAND_ON_WINDOWS = f"$env:BATCH_SCORING_HOME = 'C:\\path\\to\\folder'; {START_ON_WINDOWS}"
HERE, AZURE = "This machine", "Azure ML"


def show_local(workspace: Workspace) -> None:
    st.text("Everything is kept in one folder on this machine. There is no account, and nothing leaves the machine.")
    st.code(displayable(workspace.location), language=None, wrap_lines=True)
    _workspace.show_self_check(list(workspace.self_check()))
    st.button("Check again", key="check-again", icon=":material/refresh:")


def offer_local() -> None:
    st.text("Models, datasets and runs on this machine. There is no account, and nothing leaves the machine.")
    st.button("Work on this machine", key="use-local", type="primary", icon=":material/computer:", on_click=use_local)


def use_local() -> None:
    choose_workspace(None)
    _workspace.forget_choices()


def show_how_to_move() -> None:
    st.subheader("Use another folder", icon=":material/drive_file_move:", anchor=False)
    st.text("Stop the dashboard, then start it with BATCH_SCORING_HOME set to the folder. Active runs continue.")
    st.code(COMMAND, language="bash", wrap_lines=True)
    st.code(COMMAND_ON_WINDOWS, language="powershell", wrap_lines=True)


_layout.title("Connection", "The workspace that keeps your models, datasets and runs, and whether it is ready to use.")
workspace, remote = None, None
with _errors.shown():  # choosing another matters most when this one can't be opened
    workspace = chosen_workspace()
    remote = workspace.remote
now = AZURE if remote else HERE
st.session_state.setdefault("where", now)
where = st.segmented_control("Work in", [HERE, AZURE], key="where", required=True, label_visibility="collapsed")
with _errors.shown():
    if where == HERE and remote:
        offer_local()
    elif where == HERE:
        if workspace:
            show_local(workspace)
            _environments.show(workspace)
        show_how_to_move()
    else:
        _azure_connection.show(remote)
        if remote and remote.state().is_open:
            _environments.show(remote)
