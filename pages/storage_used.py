"""Storage: what the home takes of its disk, by what; what can go, and a limit."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import streamlit as st

from pages import _errors, _layout, _storage, _tables
from pages._background import Job
from pages._text import displayable, escape
from services import formats
from services.errors import StudioError
from services.formats import counted
from services.storage.usage import StorageKind, StorageUsage
from services.workspace import CleanedUp, CleanUpGroup, CleanUpItem
from services.workspaces import chosen_workspace

FOLLOW_SECONDS = 1.0
MOST_NAMED = 15
EVERYTHING = "Everything"
GROUPS = {
    CleanUpGroup.CACHES: "Cache",
    CleanUpGroup.TABLES: "Table of predictions",
    CleanUpGroup.LEFTOVERS: "Leftover",
    CleanUpGroup.ARCHIVED_RUNS: "Archived run",
    CleanUpGroup.UNUSED_ENVIRONMENTS: "Unused environment",
}


def age(usage: StorageUsage) -> str:
    return "just now" if usage.age < 60 else f"{formats.duration(usage.age)} ago"


def show_usage(usage: StorageUsage) -> None:
    """The sums, the kinds, and the largest things by name."""
    limit = workspace.storage.limit()
    free, total = workspace.storage.disk()
    _layout.facts(
        {
            "Used": formats.size(usage.bytes),
            "Limit": formats.size(limit) if limit else "none",
            "Free on the disk": f"{formats.size(free)} of {formats.size(total)}",
            "Files": f"{usage.files:,}",
            "Counted": age(usage),
        }
    )
    if limit:
        st.progress(min(1.0, usage.bytes / limit), f"{usage.bytes / limit:.0%} of the limit")
    kinds, largest = st.container(key="form_in_two").columns([5, 6], gap="large")
    with kinds:
        st.subheader("By kind", anchor=False)
        rows = [(kind.kind.capitalize(), kind.bytes, 100 * kind.bytes / max(1, usage.bytes), kind.files) for kind in usage.kinds]
        config = {
            "Kind": st.column_config.TextColumn(width=130),
            "Size": st.column_config.NumberColumn(format="bytes", width=75),
            "Share": st.column_config.ProgressColumn(format="%.0f%%", min_value=0, max_value=100, width=90),
            "Files": st.column_config.NumberColumn(format="localized", width=65),
        }
        columns = {"Kind": str, "Size": int, "Share": float, "Files": int}
        _tables.show(columns, rows, "What takes disk, by kind", key="storage-kinds", height="content", column_config=config)
    with largest:
        st.subheader("The largest", anchor=False)
        present = [kind.kind for kind in usage.kinds]
        chosen = st.selectbox(
            "Kind", [EVERYTHING, *present], key="kind", bind="query-params", format_func=lambda kind: kind[:1].upper() + kind[1:],
            label_visibility="collapsed",
        )  # fmt: skip
        items = usage.items if chosen == EVERYTHING else usage.of(StorageKind(chosen))
        if chosen != EVERYTHING:
            st.caption(StorageKind(chosen).meaning)
        rows_of_items = [(item.label, item.kind, item.bytes, item.files) for item in items]
        config = {
            "Name": st.column_config.TextColumn(width=205),
            "Kind": st.column_config.TextColumn(width=120),
            "Size": st.column_config.NumberColumn(format="bytes", width=68),
            "Files": st.column_config.NumberColumn(format="localized", width=52),
        }
        columns = {"Name": str, "Kind": str, "Size": int, "Files": int}
        _tables.show(columns, rows_of_items, "What takes disk, the largest first", most=10, key="storage-items", column_config=config)


# ---- the clean-up ------------------------------------------------------------------------------------------------------------------------


@_errors.shown()
def show_clean_up() -> None:
    """What can go, with ticks; what is ticked goes after a confirmation."""
    st.subheader("Clean up", icon=":material/cleaning_services:", anchor=False)
    job: Job[CleanedUp] | None = st.session_state.get("clean-up")
    if job is not None and not job.look():
        st.fragment(follow_clean_up, run_every=FOLLOW_SECONDS)()
        return
    if job is not None:
        show_result(job)
    help_text = "Archived runs that ended, and environments that were last used, at least so many days ago."
    days = st.number_input("Older than (days)", 1, 3_650, 90, key="days", bind="query-params", width=220, help=help_text)
    found = workspace.storage.proposals(int(days))
    if not found:
        st.caption(
            "There is nothing to remove: no caches or tables of runs that have ended, no leftovers of interrupted work, no archived runs"
            f" and no unused environments of more than {counted(int(days), 'day')}."
        )
        return
    rows = [(GROUPS[item.group], item.name, item.bytes, item.about) for item in found]
    config = {
        "What": st.column_config.TextColumn(width=130),
        "Name": st.column_config.TextColumn(width=210),
        "Size": st.column_config.NumberColumn(format="bytes", width=75),
        "About": st.column_config.TextColumn(width=420),
    }
    these = zlib.crc32("\n".join(item.name for item in found).encode("utf-8", "replace"))  # a tick is for this list, and no other
    state = st.dataframe(
        _tables.arrow({"What": str, "Name": str, "Size": int, "About": str}, rows), key=f"clean-up-{these}", on_select="rerun",
        selection_mode="multi-row", height=_tables.height(len(rows), 12), column_config=config, hide_index=True, placeholder="unknown",
        alt="What can be removed: tick what is to go",
    )  # fmt: skip
    chosen = [found[row] for row in state["selection"]["rows"] if row < len(found)]
    if not chosen:
        st.caption(
            "Tick what is to go. Caches and tables are made again when they are needed, leftovers belong to nothing; the rest can’t"
            " be undone."
        )
        return
    confirm(chosen)


def confirm(chosen: Sequence[CleanUpItem]) -> None:
    total = formats.size(sum(item.bytes or 0 for item in chosen))
    with st.popover(f"Remove {counted(len(chosen), 'thing')}, {total}", icon=":material/delete:", key="confirm-clean-up"):
        names = [f"{GROUPS[item.group]} {item.name}" for item in chosen]
        more = [f"and {len(names) - MOST_NAMED:,} more"] if len(names) > MOST_NAMED else []
        st.text(displayable("\n".join(names[:MOST_NAMED] + more)))
        runs = sum(item.group is CleanUpGroup.ARCHIVED_RUNS for item in chosen)
        if runs:
            st.caption(f"{counted(runs, 'archived run')} with all that they wrote. This can’t be undone.")
        if st.button("Remove", key="clean-up-now", type="primary", icon=":material/delete_forever:"):
            storage, items = workspace.storage, list(chosen)
            st.session_state["clean-up"] = Job(lambda stopped: storage.clean_up(items, stopped=stopped))
            st.rerun()


def follow_clean_up() -> None:
    job: Job[CleanedUp] = st.session_state["clean-up"]
    if job.look():
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(":material/hourglass_top: Removing…")
        if st.button("Stop", key="stop-clean-up", icon=":material/stop_circle:"):
            job.stop()


def show_result(job: Job[CleanedUp]) -> None:
    """Until another clean-up begins, or the page is left."""
    if job.error:
        _errors.show(job.error)
    elif job.result:
        freed = f"{formats.size(job.result.freed)} freed: removed {counted(len(job.result.removed), 'thing')}."
        st.success(freed, icon=":material/check_circle:")
        if job.result.kept:
            reasons = [f"{item.name}: {reason}" for item, reason in job.result.kept[:MOST_NAMED]]
            st.warning(f"{counted(len(job.result.kept), 'thing')} stayed.", icon=":material/info:")
            st.text(displayable("\n".join(reasons)))


# ---- the limit ---------------------------------------------------------------------------------------------------------------------------


def show_limit() -> None:
    st.subheader("Limit", icon=":material/speed:", anchor=False)
    limit = workspace.storage.limit()
    st.caption("When the folder comes near it, Home, New run and the command line say so. Nothing is stopped or removed by itself.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        value = st.text_input("Limit", formats.size(limit) if limit else "", key=f"limit-{limit}", placeholder="such as 50 GB", width=220)
        if st.button("Save", key="save-limit", icon=":material/save:"):
            save_limit(value)
        if limit and st.button("No limit", key="no-limit", icon=":material/block:"):
            save_limit("none")
    if error := st.session_state.pop("limit-error", None):
        _errors.show(error)


def save_limit(text: str) -> None:
    try:
        workspace.storage.set_limit(text)
    except StudioError as error:
        st.session_state["limit-error"] = error
    st.rerun()


# ---- the page ----------------------------------------------------------------------------------------------------------------------------


def follow_count() -> None:
    job = _storage.last_count()
    if job is None or job.look():
        st.rerun()
    st.caption(":material/hourglass_top: Counting files…")


_layout.title("Storage", "What your workspace takes of this machine’s disk, and what can go.")
workspace = chosen_workspace()
st.code(displayable(str(workspace.home)), language=None, wrap_lines=True)
for warning in workspace.storage.warnings():
    st.warning(escape(warning), icon=":material/hard_drive:")
counting = _storage.count_beside(workspace)
if counting is not None:
    st.fragment(follow_count, run_every=FOLLOW_SECONDS)()
elif st.button("Count again", key="count-again", type="tertiary", icon=":material/refresh:"):
    _storage.count_now(workspace)
    st.rerun()
if (last := _storage.last_count()) and last.look() and last.error:
    _errors.show(last.error)
if usage := workspace.storage.known():
    show_usage(usage)
    show_clean_up()
show_limit()
