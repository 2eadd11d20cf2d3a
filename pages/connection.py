"""Connection: which workspace this is, where it lies, whether it works, and how to choose another."""

from __future__ import annotations

import streamlit as st

from pages import _shared
from services.errors import StudioError

CHOOSE = "BATCH_SCORING_HOME=/path/to/folder make run"
CHOOSE_ON_WINDOWS = "$env:BATCH_SCORING_HOME = 'C:\\path\\to\\folder'; .venv\\Scripts\\python app.py"

st.header("Connection")
st.caption("Which workspace keeps the models, datasets and runs, and whether all that it needs is there.")

try:
    workspace = _shared.workspace()
    st.subheader("Local workspace", icon=":material/computer:")
    st.text("All of it lies in one folder of this machine. No account, and nothing leaves the machine.")
    st.code(_shared.shown(workspace.location), language=None, wrap_lines=True)

    checks = list(workspace.self_check())
    bad = [what for what, holds, _ in checks if not holds]
    if bad:
        st.warning(f"Not as it should be: {_shared.plain(', '.join(bad))}.", icon=":material/warning:")
    else:
        st.success("Everything that this workspace needs is there.", icon=":material/check_circle:")
    table = _shared.arrow_table(
        {"Check": str, "Result": str, "Detail": str}, [(what, "ok" if holds else "not ok", detail) for what, holds, detail in checks]
    )
    st.dataframe(
        table, key="self-check", lazy=False, height="content", alt="What this workspace needs, and whether it is there",
        column_config={"Check": st.column_config.TextColumn(width=170), "Result": st.column_config.TextColumn(width=80), "Detail": st.column_config.TextColumn(width=560)},
    )  # fmt: skip
except StudioError as error:
    _shared.show_error(error)

st.button("Check again", key="check-again", icon=":material/refresh:")

st.subheader("Use another folder", icon=":material/drive_file_move:")
st.text("Stop the dashboard, then start it with the folder in the environment variable BATCH_SCORING_HOME. Runs that go on are not disturbed.")
st.code(CHOOSE, language="bash")
st.code(CHOOSE_ON_WINDOWS, language="powershell")

st.subheader("Azure Machine Learning", icon=":material/cloud:")
st.text("Not part of this version: everything here runs on this machine. Scoring scripts are written as ParallelRunStep has them.")
