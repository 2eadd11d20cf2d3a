"""What several pages show of the workspace, and how its models, datasets and scripts are chosen, a run's predictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import streamlit as st

from pages import _given_values, _layout, _tables
from pages._run_form import PRIVATE_KEYS
from pages._switching import switch_page
from pages._text import escape
from services.domain import Dataset, EntryScript, Model, ResourceKind, Run
from services.errors import NotFound, StudioError
from services.workspace import Workspace
from services.workspaces import chosen_workspace, where_run_is

if TYPE_CHECKING:
    from services.predictions.reader import Predictions

_DRAWN, _MOVED = "drawn_workspace", "workspace_moved"
_Versioned = TypeVar("_Versioned", Model, Dataset)


def chosen_elsewhere() -> bool:
    """Whether another browser tab chose another workspace since this one was drawn. All tabs work in the same one."""
    drawn = st.session_state.get(_DRAWN)
    return drawn is not None and drawn != _identity(chosen_workspace())


def drawn_workspace() -> Workspace:
    """The workspace of which this tab shows things, for what a click changes by their names: another may have things of the same names.
    Raises StudioError where it is not the chosen one any longer."""
    if chosen_elsewhere():
        raise StudioError("Nothing was changed: another browser tab opened another workspace.", "Look at it, and try again.")
    return chosen_workspace()


def follow_the_choice() -> None:
    """To be called before a page is drawn. Where another tab chose another workspace, the page is drawn anew: of what was clicked on
    things of the one before nothing is done."""
    if chosen_elsewhere():
        forget_choices()
        st.session_state[_DRAWN] = _identity(chosen_workspace())
        st.session_state[_MOVED] = True
        st.rerun()
    workspace = chosen_workspace()
    st.session_state[_DRAWN] = _identity(workspace)
    if st.session_state.pop(_MOVED, False):
        name = f"{workspace.location.rpartition(' / ')[2]}, SDK {workspace.remote.connection.sdk}" if workspace.remote else "this machine"
        st.toast(f"Another browser tab opened another workspace: **{escape(name)}**.", icon=":material/lan:", duration="long")


def run_of_link(run_id: str) -> Run:
    """The run that the address names. Raises NotFound, which says so where another workspace has it: links are kept and sent to others."""
    workspace = chosen_workspace()
    try:
        return workspace.runs.get(run_id)
    except NotFound as error:
        if place := where_run_is(run_id, workspace.machine_home):
            raise NotFound(f"Run {run_id} is in another workspace: {place}.", "Open that one under Connection.") from error
        raise


def _identity(workspace: Workspace) -> str:
    """Not its location, which is the same by either SDK."""
    return str(workspace.home)


def forget_choices() -> None:
    """Drop what was chosen in one workspace when another is opened."""
    # A begun form is of its workspace, too: what is private of it stays there in its draft.
    of_the_form = (
        "model",
        "dataset",
        "script",
        "environment",
        "compute_target",
        "submission",
        "proposed_script",
        "begun_form",
        *PRIVATE_KEYS,
    )
    for name in (*of_the_form, "pipeline_lists", "where", _DRAWN):
        st.session_state.pop(name, None)
    for key in [key for key in map(str, st.session_state) if key.startswith("fit-")]:
        del st.session_state[key]
    st.query_params.clear()


def not_listed_yet() -> bool:
    """Whether the lists of a remote workspace have never arrived, which this then says. For a page that has nothing to show."""
    remote = chosen_workspace().remote
    if remote is None or (state := remote.state()).listed_at:
        return False
    if state.opening or state.listing:
        st.info("Loading workspace contents…", icon=":material/hourglass_top:")
    else:
        st.info("Sign in to see models and datasets.", icon=":material/lock:")
        st.page_link("connection.py", label="Connection", icon=":material/arrow_forward:")
    return True


def latest_versions(things: Iterable[_Versioned]) -> list[_Versioned]:
    """The highest version of each name; the names in the order in which they come first."""
    latest: dict[str, _Versioned] = {}
    for thing in things:
        latest[thing.name] = max(thing, latest.get(thing.name, thing), key=lambda versioned: versioned.version)
    return list(latest.values())


def archived(kind: ResourceKind) -> set[str]:
    """The references of those that are archived: pages offer them only when they are asked for."""
    return {reference for reference, said in chosen_workspace().resources.metadata(kind).items() if said.archived}


def item_of(run: Run) -> str:
    """What one item of this run is: a `file`, a `row` of a tabular dataset, or an `item` where no list has the dataset."""
    if run.imported_from:
        from services.handover.imported_run import ImportedRun

        return ImportedRun(chosen_workspace().home, run).about.item
    scored = run.request.datasets[0]
    return next((dataset.item for dataset in chosen_workspace().datasets() if dataset.reference == scored), "item")


def open_new_run(**choices: str) -> None:
    """Go to the New run page with these choices: `model`, `dataset`, `script`. Not by its URL: a page may not set what it has bound."""
    _given_values.choose(choices)
    switch_page("new_run.py", query_params={})


def script_label(script: EntryScript) -> str:
    """A scoring script's name in widgets and in the URL. Uploaded ones of one name are distinguished by their content."""
    return script.name if script.origin == "built-in" else f"{script.name} · {script.sha256[:8]}"


def ask_approval(warning: str, sha256: str, label: str, **options: Any) -> None:
    """The consent that lets runs execute this content. The button's key names it: a click approves only what was shown with it."""
    st.warning(f"{warning} Approve it only if you trust its source.", icon=":material/gpp_maybe:")
    _layout.labelled("SHA-256 of the approved content", sha256)
    if st.button(label, key=f"approve-{sha256}", icon=":material/verified_user:", **options):
        chosen_workspace().approve(sha256)
        st.rerun()


def show_self_check(checks: Sequence[tuple[str, bool, str]]) -> None:
    """The checks of a workspace: each its name, whether it passed, and the details."""
    failed = [name for name, passed, _ in checks if not passed]
    if failed:
        st.warning(f"Failed checks: {escape(', '.join(failed))}.", icon=":material/warning:")
    else:
        st.success("All checks passed.", icon=":material/check_circle:")
    rows = [(name, "ok" if passed else "failed", details) for name, passed, details in checks]
    widths = {"Check": 160, "Result": 80, "Details": 540}
    config = {name: st.column_config.TextColumn(width=width) for name, width in widths.items()}
    columns = dict.fromkeys(widths, str)
    _tables.show(columns, rows, "The checks of this workspace", key="self-check", height="content", column_config=config)


def joined_table(run_id: str, joined: str) -> Predictions:
    """The predictions of a run; `joined` adds true labels (`labels:ID`, `labels:ID:COLUMN`) or another run's predictions (`run:ID`,
    `run:ID:COLUMN`), or both (`both:LABELS:RUN`, `both:LABELS:RUN:COLUMN`)."""
    workspace = chosen_workspace()
    table = workspace.runs.predictions(run_id)
    what, id_, column = (*joined.split(":", 2), "", "")[:3]
    if what not in ("labels", "run", "both"):
        return table
    from services.predictions.reader import open_predictions

    if what == "labels":
        from services.predictions import evaluation

        labels = workspace.find_run_labels(workspace.runs.get(run_id), id_)
        return open_predictions(evaluation.evaluate(table, labels, column).path)
    from services.predictions import comparison

    if what == "both":
        older, _, column = column.partition(":")
        labels = workspace.find_run_labels(workspace.runs.get(run_id), id_)
        return open_predictions(comparison.judged_pair(workspace.runs.predictions(older), table, older, labels, column).path)
    return open_predictions(comparison.compare(workspace.runs.predictions(id_), table, id_, column).path)
