"""What New run asks for a remote workspace only: the compute target, and the run's environment."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _errors
from pages._text import escape, truncate
from services.domain import Environment
from services.errors import StudioError
from services.file_names import safe_relative_path
from services.intake import uploads
from services.intake.staging import staging_folder
from services.workspace import RemoteWorkspace

MADE_FOR_IT = "made for the run"


def choose_compute_target(remote: RemoteWorkspace, fields: dict[str, DeltaGenerator]) -> str | None:
    """A usable compute target. Errors of the field `compute_target` go below it."""
    targets = {target.name: target for target in remote.compute_targets() if target.usable}
    help_text = "The cluster that executes the run, on as many nodes as Node count says."
    chosen = st.selectbox(
        "Compute target", list(targets), key="compute_target", help=help_text, bind="query-params", placeholder="no clusters found",
    )  # fmt: skip
    if chosen:
        st.caption(escape(targets[chosen].describe()))
    fields["compute_target"] = st.container(gap="xsmall")
    return chosen


def show_environment(remote: RemoteWorkspace, chosen: Environment | None) -> None:
    """The interpreter and packages of the run; and a way to register others."""
    environment = chosen or remote.default_environment()
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
