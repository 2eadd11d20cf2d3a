"""Connection: which workspace this is, where it lies, whether it works, and how to choose another."""

from __future__ import annotations

import streamlit as st

from pages import _shared

CHOOSE = "BATCH_SCORING_HOME=/path/to/folder make run"
CHOOSE_ON_WINDOWS = "$env:BATCH_SCORING_HOME = 'C:\\path\\to\\folder'; .venv\\Scripts\\python app.py"


def show_self_check() -> None:
    checks = list(workspace.self_check())
    bad = [what for what, holds, _ in checks if not holds]
    if bad:
        st.warning(f"Not as it should be: {_shared.plain(', '.join(bad))}.", icon=":material/warning:")
    else:
        st.success("Everything that this workspace needs is there.", icon=":material/check_circle:")
    rows = [(what, "ok" if holds else "not ok", detail) for what, holds, detail in checks]
    widths = {"Check": 160, "Result": 80, "Detail": 540}
    st.dataframe(
        _shared.arrow_table(dict.fromkeys(widths, str), rows),
        key="self-check",
        lazy=False,
        height="content",
        alt="What this workspace needs, and whether it is there",
        column_config={name: st.column_config.TextColumn(width=width) for name, width in widths.items()},
    )
    st.button("Check again", key="check-again", icon=":material/refresh:")


_shared.title("Connection", "Which workspace keeps the models, datasets and runs, and whether all that it needs is there.")
with _shared.errors_shown():  # how to choose another is wanted most when this one can't be opened
    workspace = _shared.workspace()
    st.subheader("Local workspace", icon=":material/computer:", anchor=False)
    st.text("All of it lies in one folder of this machine. There is no account, and nothing leaves the machine.")
    st.code(_shared.shown(workspace.location), language=None, wrap_lines=True)
    show_self_check()

st.subheader("Use another folder", icon=":material/drive_file_move:", anchor=False)
st.text("Stop the dashboard, and start it with the folder in the variable BATCH_SCORING_HOME. Runs that go on are not disturbed.")
st.code(CHOOSE, language="bash")
st.code(CHOOSE_ON_WINDOWS, language="powershell")

st.subheader("Azure Machine Learning", icon=":material/cloud:", anchor=False)
st.text("Not part of this version: everything here runs on this machine. Scoring scripts are written as ParallelRunStep has them.")
