"""What the New run page asks for a workspace elsewhere: the cluster, and what the run's environment is made of."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _shared
from services.domain import Environment
from services.errors import StudioError
from services.intake import names, uploads
from services.intake.staging import staging_folder
from services.workspace import RemoteWorkspace

MADE_FOR_IT = "made for the run"


def choose_compute_target(remote: RemoteWorkspace, fields: dict[str, DeltaGenerator]) -> str | None:
    """The cluster; those that can't be used are not offered. Errors of `compute_target` have their place below it."""
    targets = {target.name: target for target in remote.compute_targets() if target.usable}
    words = "The cluster of the workspace that the run is sent to. Node count is how many of its nodes work on it."
    chosen = st.selectbox(
        "Compute target", list(targets), key="compute_target", help=words, bind="query-params", placeholder="no cluster is known",
    )  # fmt: skip
    if chosen:
        st.caption(_shared.plain(targets[chosen].describe()))
    fields["compute_target"] = st.container(gap="xsmall")
    return chosen


def show_environment(remote: RemoteWorkspace, chosen: Environment | None) -> None:
    """The interpreter and the packages that the run will get; and how to have others."""
    environment = chosen or remote.default_environment()
    pins = ", ".join(f"{name} {number}".strip() for name, number in environment.packages.items()) or "what its image holds"
    python = f"Python {environment.python_version}" if environment.python_version else environment.interpreter
    st.caption(_shared.plain(f"{python} with {_shared.clipped(pins, 400)}"))
    with st.popover("From a conda file", icon=":material/upload:"):
        name = st.text_input("Name", key="environment_name", placeholder="batch-env", on_change="ignore")
        upload = st.file_uploader("Conda file", type=["yml", "yaml"], key="environment_file", on_change="ignore")
        if st.button("Register environment", key="register-environment", icon=":material/add:"):
            if upload is None:
                st.error("Choose the conda file first.")
                return
            try:
                with st.spinner("Registering …"), staging_folder(remote.home) as folder:
                    uploads.store_uploads([(upload.name, upload)], folder)
                    made = remote.register_environment(name.strip(), str(folder / names.safe_relative_path(upload.name)))
            except StudioError as error:
                _shared.show_error(error)
            else:
                st.toast(f"Registered **{_shared.plain(str(made))}**: choose it above.", icon=":material/check_circle:")
                st.rerun()
