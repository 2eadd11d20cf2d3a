"""The frame: lists the pages, runs one. Never imported: it is the main script."""

import streamlit as st

from pages import _shared

st.set_page_config(page_title="Batch Scoring Studio", layout="wide")
page = st.navigation(
    {
        "": [
            st.Page("home.py", title="Home", icon=":material/home:", default=True),
            st.Page("new_run.py", title="New run", icon=":material/play_circle:"),
            st.Page("runs.py", title="Runs", icon=":material/list_alt:"),
            st.Page("results.py", title="Results", icon=":material/table_chart:"),
        ],
        "Registered": [
            st.Page("registered_models.py", title="Models", icon=":material/model_training:", url_path="models"),
            st.Page("registered_datasets.py", title="Datasets", icon=":material/folder_open:", url_path="datasets"),
        ],
        "Workspace": [st.Page("connection.py", title="Connection", icon=":material/lan:")],
    }
)
with _shared.errors_shown():
    page.run()
