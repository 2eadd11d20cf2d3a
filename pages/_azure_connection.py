"""The Azure ML half of Connection: choose a workspace, sign in, and look whether all is there."""

from __future__ import annotations

import json
import re
from typing import Any

import streamlit as st

from pages import _shared
from pages._connection_strip import LOOK_EVERY
from services.connection import Connection, SignIn
from services.errors import SettingsError, StudioError
from services.workspace import RemoteWorkspace
from services.workspaces import choose_workspace, suggested_connection

OF_THE_FILE = ("subscription_id", "resource_group", "workspace_name")
FIELDS = {
    SignIn.INTERACTIVE: ("tenant_id",),
    SignIn.DEVICE_CODE: ("tenant_id",),
    SignIn.AZURE_CLI: ("tenant_id",),
    SignIn.SERVICE_PRINCIPAL: ("tenant_id", "client_id"),
    SignIn.MANAGED_IDENTITY: ("client_id",),
}
"""What each asks for, besides the secret of a service principal."""
DEVICE_CODE = re.compile(r"(?P<address>https://\S+) and enter the code (?P<code>\w+)")
WHAT_IT_MEANS = {
    SignIn.INTERACTIVE: "A browser window opens on the machine where this dashboard runs.",
    SignIn.DEVICE_CODE: "You get a code to type at microsoft.com/devicelogin, in any browser on any machine.",
    SignIn.AZURE_CLI: "As whoever `az login` has signed in on the machine where this dashboard runs.",
    SignIn.SERVICE_PRINCIPAL: "As an application, for automation. Its secret is kept in memory, or in the system's keyring; never on disk.",
    SignIn.MANAGED_IDENTITY: "As the virtual machine in Azure that this dashboard runs on.",
}


def show(remote: RemoteWorkspace | None) -> None:
    st.warning(
        "This side uses the Azure ML SDK v1. Microsoft’s support for that SDK ended on 2026-06-30; the service still answers it. "
        "Scoring scripts and the workspace itself work with SDK v2 as they are.",
        icon=":material/event_busy:",
    )
    if remote:
        show_workspace(remote)
    with st.expander("Choose another workspace" if remote else "Choose a workspace", expanded=not remote, icon=":material/cloud:"):
        ask_for_workspace()


# ---- the workspace that is chosen ------------------------------------------------------------------------------------------------


def show_workspace(remote: RemoteWorkspace) -> None:
    state = remote.state()
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(_shared.plain(remote.location.rpartition(" / ")[2]), icon=":material/cloud:", anchor=False)
            st.space("stretch")
            st.link_button("Azure ML studio", remote.studio_link, icon=":material/open_in_new:")
        st.code(_shared.shown(remote.location), language=None, wrap_lines=True)
        if state.opening:
            st.fragment(signing_in, run_every=LOOK_EVERY)(remote)
        elif state.error:
            _shared.show_error(state.error)
        elif state.is_open:
            st.success("Signed in.", icon=":material/check_circle:")
        if not (state.opening or state.is_open):
            st.button("Sign in", key="sign-in", type="primary", icon=":material/login:", on_click=remote.open)
        if state.is_open:
            what_is_there(remote)


def signing_in(remote: RemoteWorkspace) -> None:
    """What a person has to do meanwhile. The sidebar draws the page anew once it is over."""
    message = remote.state().message
    st.info(_shared.plain(message) or "Signing in … the first time this takes some seconds.", icon=":material/hourglass_top:")
    if asked := DEVICE_CODE.search(message):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.code(asked["code"], language=None, width="content")
            st.link_button("Open the page for it", asked["address"], icon=":material/open_in_new:")


def what_is_there(remote: RemoteWorkspace) -> None:
    key = f"self-check {remote.location}"
    if st.button("Check everything", key="check-azure", icon=":material/fact_check:"):
        with st.spinner("Asking Azure ML for everything that a run needs …", show_time=True):
            st.session_state[key] = list(remote.self_check())
    if key in st.session_state:
        _shared.self_check_table(st.session_state[key])
    targets = remote.compute_targets()
    columns = {"Compute target": str, "Type": str, "Size": str, "State": str, "Nodes now": int, "Max nodes": int}
    rows = [(target.name, target.type, target.size, target.state, target.nodes, target.max_nodes) for target in targets]
    st.dataframe(_shared.arrow_table(columns, rows), key="compute-targets", lazy=False, hide_index=True, alt="Compute targets")
    stores = [(store.name, store.type, store.location, "default" if store.is_default else "") for store in remote.datastores()]
    table = _shared.arrow_table(dict.fromkeys(("Datastore", "Type", "Location", " "), str), stores)
    st.dataframe(table, key="datastores", lazy=False, hide_index=True, alt="Datastores")


# ---- another one -----------------------------------------------------------------------------------------------------------------


def take_file() -> None:
    """Fill the form in from a config.json. Runs before the page does."""
    if upload := st.session_state["config-json"]:
        try:
            told = json.loads(upload.getvalue())
            for name in OF_THE_FILE:
                st.session_state[f"azure-{name}"] = str(told[name])
        except (ValueError, KeyError, TypeError):
            st.session_state["config-error"] = (
                "This file does not name a workspace: download config.json from the workspace’s page in studio."
            )


def ask_for_workspace() -> None:
    known = suggested_connection()
    fields: dict[str, Any] = {}

    def text(name: str, label: str, **more: Any) -> None:
        fields[name] = st.container(gap="xsmall")
        st.session_state.setdefault(f"azure-{name}", str(known.get(name, "")))
        fields[name].text_input(label, key=f"azure-{name}", on_change="ignore", **more)

    left, right = st.columns(2, gap="large")
    with left:
        st.file_uploader("config.json, or fill it in below", type="json", key="config-json", on_change=take_file)
        if "config-error" in st.session_state:
            st.error(st.session_state.pop("config-error"), icon=":material/error:")
        for name, label in zip(OF_THE_FILE, ("Subscription id", "Resource group", "Workspace name"), strict=True):
            text(name, label)
    with right:
        ways = list(SignIn)
        st.session_state.setdefault("azure-sign_in", SignIn(known.get("sign_in", SignIn.INTERACTIVE)))
        sign_in = st.selectbox("Sign in", ways, key="azure-sign_in", format_func=lambda way: str(way)[:1].upper() + str(way)[1:])
        st.caption(WHAT_IT_MEANS[sign_in])
        optional = "" if sign_in is SignIn.SERVICE_PRINCIPAL else "optional"
        for name in FIELDS[sign_in]:
            text(name, "Tenant id" if name == "tenant_id" else "Client id", placeholder=optional)
        if sign_in is SignIn.SERVICE_PRINCIPAL:
            fields["secret"] = st.container(gap="xsmall")
            number = st.session_state.setdefault("azure-secret-number", 0)  # a new number empties the field
            hint = "else AZURE_CLIENT_SECRET, or the keyring"
            fields["secret"].text_input("Secret", type="password", key=f"azure-secret-{number}", placeholder=hint, on_change="ignore")
            stays = "Under “batch-scoring-studio”, where it stays until you remove it there."
            st.toggle("Keep the secret in this machine’s keyring", key="azure-keep", value=False, help=stays)
        # As a callback: what a run of the page has yet to reach may be overtaken by another run of it.
        st.button("Connect", key="connect", type="primary", icon=":material/login:", on_click=connect)
    if error := st.session_state.pop("azure-error", None):
        _shared.show_error(error, fields.get(getattr(error, "field", "")))


def connect() -> None:
    """Work in the workspace that the form names, signing in in the background. Runs before the page does."""
    said = st.session_state
    sign_in = SignIn(said["azure-sign_in"])

    def value(name: str) -> str:
        return str(said.get(f"azure-{name}", "")).strip()

    number = said.get("azure-secret-number", 0)
    try:
        tenant, client = (value(name) if name in FIELDS[sign_in] else "" for name in ("tenant_id", "client_id"))
        subscription, group, name = map(value, OF_THE_FILE)
        secret = said.get(f"azure-secret-{number}", "") if sign_in is SignIn.SERVICE_PRINCIPAL else ""
        connection = Connection(subscription, group, name, sign_in, tenant, client, secret).with_secret()
        if sign_in is SignIn.SERVICE_PRINCIPAL and not connection.secret:
            raise SettingsError("secret", "there is no secret", "Type it, or set AZURE_CLIENT_SECRET before the dashboard starts.")
        if said.get("azure-keep") and secret:
            connection.keep_secret()
        choose_workspace(connection)
    except StudioError as error:
        said["azure-error"] = error
        return
    said["azure-secret-number"] = number + 1  # the field is empty again
    _shared.forget_choices()
