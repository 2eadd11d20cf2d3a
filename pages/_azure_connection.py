"""The Azure ML half of Connection: choose a workspace, sign in, check it; and the strip in the sidebar of every page."""

from __future__ import annotations

import json
import re
from typing import Any

import streamlit as st

from pages import _errors, _tables, _workspace
from pages._text import ago, displayable, escape, truncate
from services.connection import SDKS, SUPPORT_ENDED, Connection, SignIn, suggested
from services.errors import SettingsError, StudioError
from services.remote import ConnectionState
from services.workspace import RemoteWorkspace
from services.workspaces import choose_workspace, default_home

REFRESH_SECONDS = 0.7  # while it signs in or lists
CONFIG_FIELDS = ("subscription_id", "resource_group", "workspace_name")
FIELDS = {
    SignIn.INTERACTIVE: ("tenant_id",),
    SignIn.DEVICE_CODE: ("tenant_id",),
    SignIn.AZURE_CLI: ("tenant_id",),
    SignIn.SERVICE_PRINCIPAL: ("tenant_id", "client_id"),
    SignIn.MANAGED_IDENTITY: ("client_id",),
}
"""The fields of each, besides the secret of a service principal."""
DEVICE_CODE = re.compile(r"(?P<address>https://\S+) and enter the code (?P<code>\w+)")
SIGN_IN_HELP = {
    SignIn.INTERACTIVE: "A browser window opens on the machine where this dashboard runs.",
    SignIn.DEVICE_CODE: "Enter a code at microsoft.com/devicelogin, in any browser on any machine.",
    SignIn.AZURE_CLI: "Uses the account of `az login` on the machine where this dashboard runs.",
    SignIn.SERVICE_PRINCIPAL: "Signs in as an application. Its secret is kept in memory or in the system keyring, never on disk.",
    SignIn.MANAGED_IDENTITY: "Signs in as the Azure virtual machine that this dashboard runs on.",
}
SDK_HELP = {
    "v1": f"What Microsoft's tutorial uses. Its support ended on {SUPPORT_ENDED['v1']}; the service still accepts it.",
    "v2": "Supported by Microsoft. Its runs are kept apart from those by SDK v1.",
}


def show(remote: RemoteWorkspace | None) -> None:
    if remote:
        show_workspace(remote)
    with st.expander("Choose another workspace" if remote else "Choose a workspace", expanded=not remote, icon=":material/cloud:"):
        ask_for_workspace()


# ---- the open workspace ----------------------------------------------------------------------------------------------------------


def show_workspace(remote: RemoteWorkspace) -> None:
    state = remote.state()
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(escape(remote.location.rpartition(" / ")[2]), icon=":material/cloud:", anchor=False, width="content")
            st.badge(f"SDK {remote.connection.sdk}", color="blue")
            st.space("stretch")
            st.link_button("Azure ML studio", remote.studio_link, icon=":material/open_in_new:")
        st.code(displayable(remote.location), language=None, wrap_lines=True)
        warn_of_end_of_support(remote.connection.sdk)
        if state.opening:
            st.fragment(signing_in, run_every=REFRESH_SECONDS)(remote)
        elif state.error:
            _errors.show(state.error)
        elif state.is_open:
            st.success("Signed in.", icon=":material/check_circle:")
        if not (state.opening or state.is_open):
            st.button("Sign in", key="sign-in", type="primary", icon=":material/login:", on_click=remote.open)
        if state.is_open:
            show_contents(remote)


def warn_of_end_of_support(sdk: str) -> None:
    if ended := SUPPORT_ENDED.get(sdk):
        st.warning(
            f"Microsoft's support for SDK {sdk} ended on {ended}; the service still accepts it. Scoring scripts work with SDK v2, "
            "unchanged: choose it below.",
            icon=":material/event_busy:",
        )


def signing_in(remote: RemoteWorkspace) -> None:
    """What a person has to do meanwhile. The sidebar redraws the page when it is over."""
    message = remote.state().message
    st.info(escape(message) or "Signing in… The first time, this takes a few seconds.", icon=":material/hourglass_top:")
    if code := DEVICE_CODE.search(message):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.code(code["code"], language=None, width="content")
            st.link_button("Open the sign-in page", code["address"], icon=":material/open_in_new:")


def show_contents(remote: RemoteWorkspace) -> None:
    key = f"self-check {remote.home}"
    if st.button("Check everything", key="check-azure", icon=":material/fact_check:"):
        with st.spinner("Checking everything a run needs…", show_time=True):
            st.session_state[key] = list(remote.self_check())
    if key in st.session_state:
        _workspace.show_self_check(st.session_state[key])
    targets = remote.compute_targets()
    columns = {"Compute target": str, "Type": str, "Size": str, "State": str, "Nodes now": int, "Max nodes": int}
    rows = [(target.name, target.type, target.size, target.state, target.nodes, target.max_nodes) for target in targets]
    _tables.show(columns, rows, "Compute targets", key="compute-targets")
    stores = [(store.name, store.type, store.location, "default" if store.is_default else "") for store in remote.datastores()]
    _tables.show(dict.fromkeys(("Datastore", "Type", "Location", " "), str), stores, "Datastores", key="datastores")


# ---- another workspace -----------------------------------------------------------------------------------------------------------------


def read_config() -> None:
    """Fill in the form from a config.json. Runs before the page does."""
    if upload := st.session_state["config-json"]:
        try:
            config = json.loads(upload.getvalue())
            for name in CONFIG_FIELDS:
                st.session_state[f"azure-{name}"] = str(config[name])
        except (ValueError, KeyError, TypeError):
            st.session_state["config-error"] = (
                "This file does not name a workspace. Download config.json from the workspace's page in studio."
            )


def ask_for_workspace() -> None:
    known = suggested(default_home())
    fields: dict[str, Any] = {}

    def text(name: str, label: str, **more: Any) -> None:
        fields[name] = st.container(gap="xsmall")
        st.session_state.setdefault(f"azure-{name}", str(known.get(name, "")))
        fields[name].text_input(label, key=f"azure-{name}", on_change="ignore", **more)

    st.session_state.setdefault("azure-sdk", known.get("sdk", "v1"))
    st.radio("SDK of Azure ML", list(SDKS), key="azure-sdk", format_func="SDK {}".format, captions=[SDK_HELP[sdk] for sdk in SDKS])
    left, right = st.columns(2, gap="large")
    with left:
        st.file_uploader("config.json, or fill in the fields below", type="json", key="config-json", on_change=read_config)
        if "config-error" in st.session_state:
            st.error(st.session_state.pop("config-error"), icon=":material/error:")
        for name, label in zip(CONFIG_FIELDS, ("Subscription id", "Resource group", "Workspace name"), strict=True):
            text(name, label)
    with right:
        st.session_state.setdefault("azure-sign_in", SignIn(known.get("sign_in", SignIn.INTERACTIVE)))
        sign_in = st.selectbox("Sign in", list(SignIn), key="azure-sign_in", format_func=lambda method: f"{method[:1].upper()}{method[1:]}")
        st.caption(SIGN_IN_HELP[sign_in])
        optional = "" if sign_in is SignIn.SERVICE_PRINCIPAL else "optional"
        for name in FIELDS[sign_in]:
            text(name, "Tenant id" if name == "tenant_id" else "Client id", placeholder=optional)
        if sign_in is SignIn.SERVICE_PRINCIPAL:
            fields["secret"] = st.container(gap="xsmall")
            number = st.session_state.setdefault("azure-secret-number", 0)  # a new number empties the field
            hint = "default: AZURE_CLIENT_SECRET, then the keyring"
            fields["secret"].text_input("Secret", type="password", key=f"azure-secret-{number}", placeholder=hint, on_change="ignore")
            help_text = "In that of the machine where this dashboard runs, stored as “batch-scoring-studio” until you remove it there."
            st.toggle("Keep it in the keyring", key="azure-keep", value=False, help=help_text)
        # As a callback: code later in the page may not run before another run of the page replaces it.
        st.button("Connect", key="connect", type="primary", icon=":material/login:", on_click=connect)
    if error := st.session_state.pop("azure-error", None):
        _errors.show(error, fields.get(getattr(error, "field", "")))


def connect() -> None:
    """Open the workspace of the form, signing in in the background. Runs before the page does."""
    state = st.session_state
    sign_in = SignIn(state["azure-sign_in"])

    def value(name: str) -> str:
        return str(state.get(f"azure-{name}", "")).strip()

    number = state.get("azure-secret-number", 0)
    try:
        tenant, client = (value(name) if name in FIELDS[sign_in] else "" for name in ("tenant_id", "client_id"))
        subscription, group, name = map(value, CONFIG_FIELDS)
        secret = state.get(f"azure-secret-{number}", "") if sign_in is SignIn.SERVICE_PRINCIPAL else ""
        connection = Connection(subscription, group, name, sign_in, tenant, client, secret, sdk=state["azure-sdk"]).with_secret()
        if sign_in is SignIn.SERVICE_PRINCIPAL and not connection.secret:
            raise SettingsError("secret", "The secret is missing", "Enter it, or set AZURE_CLIENT_SECRET before starting the dashboard.")
        if state.get("azure-keep") and secret:
            connection.keep_secret()
        choose_workspace(connection)
    except StudioError as error:
        state["azure-error"] = error
        return
    state["azure-secret-number"] = number + 1  # the field is empty again
    _workspace.forget_choices()


# ---- the sidebar ---------------------------------------------------------------------------------------------------------------------


def show_strip(remote: RemoteWorkspace, page: str) -> None:
    """The workspace's name, whether it is signed in, and the age of its lists: on the page of this name."""
    state = remote.state()
    busy = state.opening or state.listing

    def strip() -> None:
        _strip(remote, state)

    strip.__qualname__ += page  # a fragment is known by its name: that of the page before is another one (see pages/_switching.py)
    st.fragment(strip, run_every=REFRESH_SECONDS if busy else None)()


def _strip(remote: RemoteWorkspace, before: ConnectionState) -> None:
    """Redraws the whole page only when something changed, so as not to interrupt clicks."""
    state = remote.state()
    changed = (state.changes, state.is_open, state.error) != (before.changes, before.is_open, before.error)
    if changed and not (state.opening or state.listing):
        st.rerun()
    with st.container(border=True, gap="xsmall", key="connection-strip"):
        st.badge(f"Azure ML · SDK {remote.connection.sdk}", icon=":material/cloud:", color="blue")
        st.text(displayable(remote.location.rpartition(" / ")[2]))
        if state.opening:
            st.caption(":material/hourglass_top: Signing in…")
        elif state.error:
            message = state.error.message.replace(remote.location, remote.location.rpartition(" / ")[2])
            st.caption(f":material/error: {escape(truncate(message, 120))}")
        elif not state.is_open:
            st.caption(":material/lock: Not signed in")
        if state.message:
            st.info(escape(state.message))
        if state.listing and not state.opening:
            st.caption(":material/sync: Loading lists…")
        elif state.listed_at:
            st.caption(f"Lists as of {ago(state.listed_at)}")
        if not (state.opening or state.listing):
            if state.is_open and st.button("Refresh", key="refresh-lists", icon=":material/refresh:", type="tertiary"):
                remote.refresh()
                st.rerun()
            if not state.is_open:
                st.page_link("connection.py", label="Sign in", icon=":material/login:")
