"""Environments: which there are and the disk they use; making one from a list that is shown first, or the one that a model asks for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from pages import _errors, _given_values, _keeping, _layout, _tables
from pages._text import displayable, escape, truncate
from services import formats
from services.domain import BuildStatus, Environment, EnvironmentBuild, Interpreter, Model, ModelCard, ResourceKind
from services.errors import IntakeError, SettingsError, StudioError
from services.file_names import proposed_name
from services.formats import counted
from services.intake import requirement_lists
from services.intake.requirement_lists import RequirementList
from services.workspace import EnvironmentBuilds, Workspace
from services.workspaces import chosen_workspace

FOLLOW_SECONDS = 1.0
PACKAGES, REQUIREMENTS, CONDA = "Packages", "requirements.txt", "Conda file"
AUTOMATIC = "The one that fits"
ANY_PYTHON = ("3.12", "3.11", "3.10", "3.9")
OF_MODELS = "environments-of-models"  # those that were chosen for a model by a click here


# ---- what a model asks for --------------------------------------------------------------------------------------------------------------


def offer_for_model(workspace: Workspace, reference: str) -> None:
    """As `offer_environment`, of a model by its reference, below a sentence that has said why."""
    with _errors.shown():
        offer_environment(workspace, workspace.model(reference), workspace.model_card(reference), say_why=False)


def offer_environment(workspace: Workspace, model: Model, card: ModelCard, *, say_why: bool = True) -> None:
    """An environment with what the model needs: one that is there, else the list and the button that makes it. Nothing where what is
    installed by default has all of it. What was made is chosen on New run."""
    try:
        requirements = requirement_lists.requirements_for(card)
    except IntakeError as error:
        if card.requirements:
            _errors.show(error)
        return
    environments = workspace.environments()
    lacking = requirement_lists.unmet(card.requirements, _default_packages(workspace, card))
    if not lacking:
        return
    made_with = f"{card.framework} {card.framework_version}".strip()
    here = "the default environment" if workspace.remote else "this program"
    first = lacking[0]
    has = f"{here} has {first.there}" if first.there else f"{here} does not have {first.name}"
    if say_why:
        st.info(escape(f"{model} was made with {made_with or first.name}; {has}."), icon=":material/deployed_code:")
    kind = "MLflow " if card.format == "mlflow" else ""  # its environment has more than the framework
    name = proposed_name(f"{kind}{made_with or model.name}.x") or model.name
    build = _build_of(workspace.builds, name, requirements) if workspace.builds else None
    if workspace.builds and build and build.status is BuildStatus.READY:  # it was made by a click here
        workspace.builds.dismiss(build.id)
        st.toast(f"Made **{escape(build.environment)}**", icon=":material/check_circle:")
        _use(build.environment, model.reference)
    if (fitting := _that_has(environments, card)) and not (build and build.status is BuildStatus.BUILDING):
        if st.button(f"Use environment {escape(fitting.reference)}", key=f"use-environment-{model.reference}", icon=":material/check:"):
            _use(fitting.reference, model.reference)
        return
    label = f"Make an environment with {escape(made_with or truncate(', '.join(requirements.names), 60))}"
    _offer(workspace, name, requirements, label, f"for-{model.reference}", use_for=model.reference)


def is_being_made(workspace: Workspace, card: ModelCard) -> bool:
    """Whether the environment that `offer_environment` offers for this model is under way."""
    try:
        lines = requirement_lists.requirements_for(card).lines
    except IntakeError:
        return False
    builds = workspace.builds.all() if workspace.builds else []
    return any(build.status is BuildStatus.BUILDING and build.requirements == lines for build in builds)


def _default_packages(workspace: Workspace, card: ModelCard) -> dict[str, str]:
    if workspace.remote:
        return dict(workspace.remote.default_environment().packages)
    return requirement_lists.installed_here(card.requirements)


def _that_has(environments: list[Environment], card: ModelCard) -> Environment | None:
    """The newest environment that has what the model needs, and what the scorers need."""
    needed = [*card.requirements, *requirement_lists.requirements_for(card).companions]
    return next((known for known in environments if not requirement_lists.unmet(needed, known.packages, known.python_version)), None)


def _use(reference: str, model: str) -> None:
    _given_values.choose({"environment": reference})
    st.session_state[OF_MODELS] = st.session_state.get(OF_MODELS, {}) | {model: reference}
    st.rerun()


def follow_model(model: str | None, default: str) -> None:
    """On New run: the environment that was chosen for a model by a click is chosen with that model, and not with another one. To be called
    before the widget is drawn, whose value without an environment is `default`."""
    state, chosen = st.session_state, st.session_state.get(OF_MODELS, {})
    if model != state.get("environment-model"):
        there = {known.reference for known in chosen_workspace().environments()}
        if (environment := chosen.get(model)) in there:
            _given_values.put({"environment": environment})
        elif state.get("environment") in chosen.values():
            _given_values.put({"environment": default})
    state["environment-model"] = model


# ---- a list and its button --------------------------------------------------------------------------------------------------------------


def _offer(
    workspace: Workspace, name: str, requirements: RequirementList, label: str, key: str, *, python: str | None = None, use_for: str = ""
) -> None:
    """The list, its SHA-256 and the button that approves it and makes the environment; while it is made, how far it is."""
    builds = workspace.builds
    build = _build_of(builds, name, requirements) if builds else None
    if builds and build and build.status is BuildStatus.BUILDING:
        if use_for:
            follow(builds, build)
        else:
            st.caption("This environment is being made, as shown above.")
        return
    with st.container(border=True, key=f"list-{key}"):
        st.code(displayable(requirements.text), language=None, height=200 if len(requirements.lines) > 7 else "content")
        for note in requirements.notes:
            st.caption(escape(note))
        _layout.labelled("SHA-256 of this list", requirements.sha256)
        ended = build is not None and build.status in (BuildStatus.FAILED, BuildStatus.CANCELED)
        large = bool(build and build.field == "allow_large")
        if build and ended:
            _show_end(build)
        text = "Download it all the same" if large else f"Approve this list and {label[:1].lower()}{label[1:]}"
        if st.button(text, key=f"create-{key}-{requirements.sha256}", type="primary", icon=":material/add:"):
            if builds and build:
                builds.dismiss(build.id)
            with _errors.shown():
                _create(workspace, name, requirements, python=python, allow_large=large, use_for=use_for)


def _create(workspace: Workspace, name: str, requirements: RequirementList, *, python: str | None, allow_large: bool, use_for: str) -> None:
    """Start to build it here; elsewhere register it at once."""
    given: dict[str, Any] = {"python": python, "approved": requirements.sha256}
    if workspace.builds:
        workspace.builds.start(name, requirements, **given, allow_large=allow_large)
    else:
        with st.spinner("Registering the environment…", show_time=True):
            reference = workspace.create_environment(name, requirements, **given).reference
        st.toast(f"Registered **{escape(reference)}**", icon=":material/check_circle:")
        if use_for:
            _use(reference, use_for)
    st.rerun()


def _build_of(builds: EnvironmentBuilds, name: str, requirements: RequirementList) -> EnvironmentBuild | None:
    """The newest build of this list under this name."""
    return next((build for build in builds.all() if build.name == name and build.requirements == requirements.lines), None)


def follow(builds: EnvironmentBuilds, build: EnvironmentBuild) -> None:
    """What the installer says, a line after the other, until it has ended; then the page runs again."""
    st.fragment(_follow, run_every=FOLLOW_SECONDS)(builds, build.id)


def _follow(builds: EnvironmentBuilds, build_id: str) -> None:
    try:
        build = builds.get(build_id)
    except StudioError:
        st.rerun()
    if build.status is not BuildStatus.BUILDING:
        st.rerun()
    with st.container(border=True, key=f"build-{build_id}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/hourglass_top: Making **{escape(build.name)}**: {escape(truncate(', '.join(build.requirements), 120))}")
            st.space("stretch")
            if st.button("Cancel", key=f"cancel-build-{build_id}", icon=":material/cancel:"):
                builds.cancel(build_id)
                st.rerun()
        st.code(displayable("\n".join(build.progress)) or "Starting…", language=None, height=180)
        st.caption("It continues when this page is closed.")


def _show_end(build: EnvironmentBuild) -> None:
    """Why a build became no environment."""
    if build.status is BuildStatus.CANCELED:
        st.warning(escape(f"Making {build.name} was canceled. Nothing of it was kept."), icon=":material/cancel:")
    else:
        error = SettingsError(build.field, build.error, build.hint) if build.field else StudioError(build.error, build.hint)
        _errors.show(error)
        if build.progress:
            with st.expander("Output of the installer", icon=":material/subject:"):
                st.code(displayable("\n".join(build.progress)), language=None, height=180)


# ---- all of them ------------------------------------------------------------------------------------------------------------------------


def show(workspace: Workspace) -> None:
    """The environments with the disk they use, those being made, and the form for another."""
    st.subheader("Environments", icon=":material/deployed_code:", anchor=False)
    environments = workspace.environments()
    _keeping.show_done()
    if not environments:
        st.caption("None yet. A run uses this program's own Python unless it names one." if workspace.builds else "None yet.")
    else:
        listing = _keeping.listing_of(workspace, ResourceKind.ENVIRONMENT, environments)
        if chosen := _keeping.choose(workspace, listing, _columns(listing, workspace.builds.last_used() if workspace.builds else {})):
            _keeping.actions(workspace, listing, chosen, without=() if workspace.builds else ("delete",))
            _keeping.show_said(listing, chosen)
        if workspace.builds:
            with st.container(horizontal=True, vertical_alignment="center"):
                if used := sum(e.size or 0 for e in environments):
                    st.caption(f"Disk used by those made here: {formats.size(used)}.", width="content")
                _offer_deletion_of_unused(workspace, workspace.builds)
    for build in workspace.builds.all() if workspace.builds else ():
        if build.status is BuildStatus.BUILDING and workspace.builds:
            follow(workspace.builds, build)
    form = st.expander("Make an environment", icon=":material/add:", key="make-environment", on_change="rerun")
    if form.open:  # it asks this machine which Pythons it has
        with form:
            _ask(workspace)


def _columns(listing: _keeping.Listing[Environment], last_used: Mapping[str, datetime]) -> _keeping.Columns[Environment]:
    return _keeping.Columns(
        {
            "Environment": str,
            "Python": str,
            "Packages": int,
            "Disk": int,
            "Registered": datetime,
            "Last used": datetime,
            "Made of": str,
        },
        lambda e: (
            listing.name(e), e.python_version, len(e.packages), e.size, e.created_at, last_used.get(e.reference),
            ", ".join(e.requirements) or e.interpreter,
        ),
        {
            "Environment": st.column_config.TextColumn(width=180),
            "Python": st.column_config.TextColumn(width=80),
            "Packages": st.column_config.NumberColumn(width=90),
            "Disk": st.column_config.NumberColumn(format="bytes", width=90),
            "Registered": _tables.time_column(),
            "Last used": _tables.time_column(),
            "Made of": st.column_config.TextColumn(width=380),
        },
        naming=1,
    )  # fmt: skip


def _offer_deletion_of_unused(workspace: Workspace, builds: EnvironmentBuilds) -> None:
    with st.popover("Delete unused", icon=":material/auto_delete:"):
        days = st.number_input("Not used for (days)", min_value=1, max_value=3_650, value=30, key="unused-for")
        unused = builds.unused_for(days)
        if not unused:
            st.caption(f"Every environment was used or registered within the last {counted(days, 'day')}.")
            return
        freed = formats.size(sum(known.size or 0 for known in unused))
        st.text(displayable("\n".join(f"{known} · {formats.size(known.size)}" if known.size else str(known) for known in unused)))
        st.caption(f"Together {freed} of disk. Runs that used them are kept.")
        label = f"Delete {counted(len(unused), 'environment')}"
        if st.button(label, key="delete-unused", type="primary", icon=":material/delete_forever:"):
            with _errors.shown():
                for known in unused:
                    workspace.resources.delete(ResourceKind.ENVIRONMENT, [known.reference])
                st.toast(f"Deleted {counted(len(unused), 'environment')}, {freed}", icon=":material/delete:")
                st.rerun()


def _ask(workspace: Workspace) -> None:
    """The form: a list, a name, a Python; then the list as it will be, with its button."""
    source = st.segmented_control("From", [PACKAGES, REQUIREMENTS, CONDA], key="environment-source", default=PACKAGES, required=True)
    left, right = st.columns([5, 4], gap="large")
    content, upload = "", None
    with left:
        if source == PACKAGES:
            text = "One per line, such as scikit-learn==1.3.2"
            content = st.text_area("Packages", key="environment-packages", height=110, placeholder=text)
        else:
            types = ["txt", "in"] if source == REQUIREMENTS else ["yml", "yaml"]
            upload = st.file_uploader(source, type=types, key=f"environment-{source}")
    with right:
        name = st.text_input("Name", key="environment-name", placeholder="my-environment").strip()
        pythons = {AUTOMATIC: None} | {interpreter.version: interpreter.path for interpreter in _interpreters(workspace)}
        python = st.selectbox("Python", list(pythons), key="environment-python", help="The Pythons on this machine.")
    if not (content.strip() or upload):
        st.caption("Names and versions only. Only wheels are installed: nothing is built from source, which would run its code.")
        return
    with _errors.shown():
        if upload:
            read = requirement_lists.from_conda if source == CONDA else requirement_lists.from_requirements
            requirements = read(upload.getvalue(), upload.name)
        else:
            requirements = requirement_lists.from_requirements(content.encode("utf-8", "replace"), "The list")
        given = pythons[python] if workspace.builds else None if python == AUTOMATIC else python
        if not name:
            st.caption(f"{counted(len(requirements.lines), 'requirement')}. Give it a name.")
            return
        _offer(workspace, name, requirements, "Make the environment", "form", python=given)


def _interpreters(workspace: Workspace) -> list[Interpreter]:
    return workspace.builds.interpreters() if workspace.builds else [Interpreter(version, version) for version in ANY_PYTHON]
