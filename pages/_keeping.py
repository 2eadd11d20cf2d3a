"""Models, datasets and environments kept in order: found by name and tag, pinned, described, archived, deleted; one, or many at once."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import streamlit as st

from pages import _errors, _tables, _workspace
from pages._text import displayable, escape, truncate
from services import formats
from services.domain import Dataset, Dependents, Environment, Metadata, Model, ResourceKind
from services.errors import SettingsError, StudioError
from services.formats import counted
from services.workspace import Workspace

T = TypeVar("T", bound=Model | Dataset | Environment)

MOST_NAMED = 15
"""Names in a confirmation of many."""
_LONGEST_CELL = 200
_LONGEST_NOTE = 10_000
_DELETED = "keeping-deleted"


@dataclass(frozen=True)
class Columns(Generic[T]):
    """What a page's table shows of each thing, beside what people said of it."""

    types: Mapping[str, type]
    row: Callable[[T], tuple[Any, ...]]
    config: Mapping[str, Any]
    naming: int = 2
    """How many of them say which thing it is: its tags come after them."""


@dataclass(frozen=True)
class Listing(Generic[T]):
    """The things of one kind and what people said of them."""

    kind: ResourceKind
    things: Sequence[T]
    said: Mapping[str, Metadata] = field(default_factory=dict)

    def of(self, thing: T) -> Metadata:
        return self.said.get(thing.reference, _UNSAID)

    @property
    def key(self) -> str:
        """Of the widget, and in the address: `environment` is that of a new run."""
        return "environment_version" if self.kind is ResourceKind.ENVIRONMENT else str(self.kind)

    def name(self, thing: T) -> str:
        """As lists show it: `name:version`, with what it was renamed to."""
        said = self.of(thing)
        return f"{said.name}:{thing.version}" if said.name else thing.reference


_UNSAID = Metadata()


def listing_of(workspace: Workspace, kind: ResourceKind, things: Sequence[T]) -> Listing[T]:
    return Listing(kind, things, workspace.resources.metadata(kind))


def tags_as_lines(tags: Mapping[str, str]) -> list[str]:
    """`stage=prod`, each in one line, whatever it holds."""
    return [" ".join(f"{name}={value}".split()) for name, value in tags.items()]


def tags_of(text: str) -> dict[str, str]:
    """The tags in a text of one NAME=VALUE a line. Raises SettingsError on `tags`."""
    tags = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise SettingsError("tags", f"“{line[:100]}” is not a tag", "Write one NAME=VALUE per line.")
        tags[name.strip()] = value.strip()
    return tags


# ---- the list ----------------------------------------------------------------------------------------------------------------------------


def choose(workspace: Workspace, listing: Listing[T], columns: Columns[T]) -> T | None:
    """The list with its filters, which stand in the address, and below it the choice of one version; None where nothing matches, or several
    are chosen, which this then offers to change together."""
    key = listing.key
    in_url = st.query_params.get(key, "")
    is_gone = bool(in_url) and in_url not in {thing.reference for thing in listing.things}
    if is_gone and (listing.kind, in_url) not in st.session_state.get(_DELETED, ()):  # who deleted it here knows
        st.warning(escape(f"There is no {listing.kind} “{in_url[:200]}” here. It may have been removed."), icon=":material/link_off:")
    bar, place = st.container(horizontal=True, vertical_alignment="center"), st.container()
    with bar:
        found, all_versions = _filter(listing, str(st.session_state.get(key) or in_url))
        st.space("stretch")
        several = st.toggle("Select several", key=f"several-{listing.kind}")
    if not found:
        _nothing_matches(listing)
        return None
    rows = found if all_versions else _latest(found)
    table, config = _table(listing, rows, columns)
    if several:
        with place:
            _change_several(workspace, listing, rows, table, config)
        return None
    references = [thing.reference for thing in found]
    label = f"{listing.kind.capitalize()} and version"
    if is_gone:  # otherwise it stays in the address
        st.session_state[key] = references[0]
    chosen = found[references.index(st.selectbox(label, references, key=key, bind="query-params", width=420))]
    at = next((n for n, row in enumerate(rows) if row is chosen or (not all_versions and row.name == chosen.name)), 0)
    with place:
        _tables.choosing(table, key, [thing.reference for thing in rows], at, config)
    return chosen


def _latest(found: Sequence[T]) -> list[T]:
    """The highest version of each name; the names in the order in which they come first."""
    latest: dict[str, T] = {}
    for thing in found:
        if thing.name not in latest or thing.version > latest[thing.name].version:
            latest[thing.name] = thing
    return list(latest.values())


def _filter(listing: Listing[T], chosen: str) -> tuple[list[T], bool]:
    """The things that match, the pinned ones first; and whether all versions are wanted. An archived one that is `chosen`, as by a link, is
    among them."""
    options: dict[str, Any] = {"label_visibility": "collapsed", "bind": "query-params"}
    text = st.text_input("Search", key="search", type="search", placeholder="Name, tag or note", live=True, width=220, **options)
    words = (text or "").casefold().split()
    known = sorted({line for said in listing.said.values() for line in tags_as_lines(said.tags)})
    tags: list[str] = []
    if known:
        tags = st.multiselect("Tags", known, key="tags", placeholder="Tags", format_func=displayable, width=240, **options)
    archived = sum(listing.of(thing).archived for thing in listing.things)
    with_archived = bool(archived) and st.toggle(f"Archived ({archived:,})", key="archived", bind="query-params")
    versions = len({thing.name for thing in listing.things}) < len(listing.things)
    all_versions = versions and st.toggle("All versions", key="versions", bind="query-params")

    def matches(thing: T) -> bool:
        said = listing.of(thing)
        if said.archived and not with_archived and thing.reference != chosen:
            return False
        own = tags_as_lines(said.tags)
        if not all(tag in own for tag in tags):
            return False
        about = " ".join((thing.reference, said.name, said.note[:2_000], *own)).casefold() if words else ""
        return all(word in about for word in words)

    found = [thing for thing in listing.things if matches(thing)]
    found.sort(key=lambda thing: not listing.of(thing).pinned)  # otherwise as they come
    return found, all_versions


def _nothing_matches(listing: Listing[T]) -> None:
    hidden = sum(listing.of(thing).archived for thing in listing.things)
    if hidden == len(listing.things):
        st.info(f"All {listing.kind}s are archived: turn on Archived to see them.", icon=":material/inventory_2:")
        return
    st.info(f"No {listing.kind} matches.", icon=":material/search_off:")
    st.button("Clear the search", key="clear-search", icon=":material/close:", on_click=_clear_search)


def _clear_search() -> None:
    st.session_state["search"] = ""
    st.session_state.pop("tags", None)


def _table(listing: Listing[T], rows: Sequence[T], columns: Columns[T]) -> tuple[Any, dict[str, Any]]:
    """As an Arrow table: the page's columns, then those for which people said anything."""
    said = [listing.of(thing) for thing in rows]
    extra: dict[str, list[str]] = {
        "★": ["★" if one.pinned else "" for one in said],
        "Tags": [truncate(", ".join(tags_as_lines(one.tags)), _LONGEST_CELL) for one in said],
        "Note": [truncate(" ".join(one.note[: 2 * _LONGEST_CELL].split()), _LONGEST_CELL) for one in said],
        "Archived": ["archived" if one.archived else "" for one in said],
    }
    shown = {name: cells for name, cells in extra.items() if any(cells)}
    order = ["★", *list(columns.types)[: columns.naming], "Archived", "Tags", *list(columns.types)[columns.naming :], "Note"]
    cells_of = shown | dict(zip(columns.types, zip(*map(columns.row, rows), strict=True), strict=True))
    types: dict[str, type] = {name: columns.types.get(name, str) for name in order if name in cells_of}
    values = list(zip(*(cells_of[name] for name in types), strict=True))
    widths = {"★": 35, "Tags": 160, "Note": 240, "Archived": 85}
    config = dict(columns.config) | {name: st.column_config.TextColumn(width=width) for name, width in widths.items()}
    return _tables.arrow(types, values), config


# ---- one of them -------------------------------------------------------------------------------------------------------------------------


def show_said(listing: Listing[T], thing: T) -> None:
    """The note, the tags, and that it is archived."""
    said = listing.of(thing)
    if said.archived:
        st.info("Archived: lists leave it out until Archived is on.", icon=":material/inventory_2:")
    if said.note:
        st.text(displayable(said.note))
    if said.tags:
        with st.container(gap=None):
            st.caption("Tags")
            st.text(displayable("\n".join(f"{name} = {value}" if value else name for name, value in said.tags.items())))


def actions(
    workspace: Workspace, listing: Listing[T], thing: T, *, register_again: Callable[[], None] | None = None, without: Sequence[str] = ()
) -> None:
    """The buttons of one thing: pin, note and tags, archive, rename, delete. `register_again` fills in the form for another name."""
    with st.container(horizontal=True, gap="xsmall"):  # in one line also in a narrow window
        _one_by_one(workspace, listing, thing, register_again, without)
    show_error()


def _one_by_one(
    workspace: Workspace, listing: Listing[T], thing: T, register_again: Callable[[], None] | None, without: Sequence[str]
) -> None:
    said, reference = listing.of(thing), thing.reference
    here = workspace.resources.whereabouts(listing.kind, reference, ("pinned",)) or None
    _button(
        "Unpin" if said.pinned else "Pin", "push_pin", f"pin-{reference}", listing.kind, [reference], help_text=here, pinned=not said.pinned
    )
    with _popover("Note and tags", "edit_note", f"edit-{reference}") as opened:
        if opened:
            _edit(workspace, listing, thing)
    label, icon = ("Restore", "unarchive") if said.archived else ("Archive", "archive")
    _button(label, icon, f"archive-{reference}", listing.kind, [reference], help_text=here, archived=not said.archived)
    with _popover("Rename", "drive_file_rename_outline", f"rename-{reference}") as opened:
        if opened:
            _rename(listing, thing, register_again)
    if "delete" not in without:
        with _popover("Delete", "delete", f"ask-delete-{reference}") as opened:
            if opened:
                _ask_deletion(workspace, listing.kind, [(reference, thing.name)], f"ask-delete-{reference}")


class _popover:
    """A popover whose content is drawn only while it is open: what depends on a thing is not looked up before somebody asks."""

    def __init__(self, label: str, icon: str, key: str, **options: Any) -> None:
        self._key = key
        self._popover = st.popover(label, icon=f":material/{icon}:", key=key, on_change="rerun", **options)

    def __enter__(self) -> bool:
        self._popover.__enter__()
        return bool(self._popover.open)

    def __exit__(self, *error: Any) -> None:
        if self._popover.open:
            show_error(self._key)  # below it the open popover would hide it
        self._popover.__exit__(*error)


def _button(
    label: str, icon: str, key: str, kind: ResourceKind, references: Sequence[str], *, help_text: str | None = None, **change: Any
) -> None:
    st.button(label, key=key, icon=f":material/{icon}:", help=help_text, on_click=_change, args=(kind, list(references), change))


def _change(kind: ResourceKind, references: Sequence[str], change: Mapping[str, Any], close: str = "") -> None:
    """Say something of these. To be called before the page is drawn: by a button."""
    with _told_later(close):
        for reference in references:
            _workspace.drawn_workspace().resources.change(kind, reference, **change)
        if close:
            st.session_state[close] = False


def _edit(workspace: Workspace, listing: Listing[T], thing: T) -> None:
    said, reference = listing.of(thing), thing.reference
    lines = tags_as_lines(said.tags)
    version = zlib.crc32(repr((said.note, lines)).encode("utf-8", "replace"))  # what another tab has changed meanwhile is shown
    note_key, tags_key = f"note-{reference}-{version}", f"tags-{reference}-{version}"
    st.text_area("Note", displayable(said.note[:_LONGEST_NOTE]), key=note_key, max_chars=_LONGEST_NOTE, height=120)
    st.text_area("Tags", displayable("\n".join(lines)), key=tags_key, height=100, help="One NAME=VALUE per line.")
    if place := workspace.resources.whereabouts(listing.kind, reference, ("note", "tags")):
        st.caption(escape(place))
    before = dict(zip(said.tags, lines, strict=True))
    st.button(
        "Save", key=f"save-{reference}", type="primary", icon=":material/save:", on_click=_save_edit,
        args=(listing.kind, reference, note_key, tags_key, said.note, before),
    )  # fmt: skip


def _save_edit(kind: ResourceKind, reference: str, note_key: str, tags_key: str, note: str, before: Mapping[str, str]) -> None:
    """Keep the note and the tags that were changed; `before` are the lines of tags by name."""
    with _told_later(f"edit-{reference}"):
        wanted = tags_of(st.session_state[tags_key])
        changed = {name: value for name, value in wanted.items() if f"{name}={value}" not in before.values()}
        lines = tags_as_lines(wanted)
        changed |= {name: "" for name, line in before.items() if displayable(line) not in lines and name not in wanted}
        given: dict[str, Any] = {"tags": changed} if changed else {}
        if st.session_state[note_key] != displayable(note[:_LONGEST_NOTE]):
            given["note"] = st.session_state[note_key]
        _workspace.drawn_workspace().resources.change(kind, reference, **given)
        st.session_state[f"edit-{reference}"] = False


def _rename(listing: Listing[T], thing: T, register_again: Callable[[], None] | None) -> None:
    kind, reference = listing.kind, thing.reference
    if kind is not ResourceKind.ENVIRONMENT:
        st.markdown(
            f"A {kind}’s name is what scripts ask for, so it stays. Register the {kind} again under another name,"
            " then delete or archive this one."
        )
        if register_again:
            st.button("Register again…", key=f"again-as-{reference}", icon=":material/add:", on_click=register_again)
        return
    current = listing.of(thing).name or thing.name
    st.text_input("Name", current, key=f"new-name-{reference}", max_chars=200)
    st.caption("Runs that used it are not changed; it is also still known by its first name.")
    st.button(
        "Rename", key=f"rename-now-{reference}", type="primary", icon=":material/check:", on_click=_rename_now, args=(kind, reference),
    )  # fmt: skip


def _rename_now(kind: ResourceKind, reference: str) -> None:
    _change(kind, [reference], {"name": st.session_state[f"new-name-{reference}"]}, f"rename-{reference}")


# ---- deleted -----------------------------------------------------------------------------------------------------------------------------


def _ask_deletion(workspace: Workspace, kind: ResourceKind, wanted: Sequence[tuple[str, str]], close: str) -> None:
    """What goes, what depends on it, which files stay, how much disk that frees; and the button. `wanted` are references and names."""
    with st.spinner("Looking up what depends on it…") if len(wanted) > MOST_NAMED else st.container():
        found = [(reference, *_dependents(workspace, kind, reference, name)) for reference, name in wanted]
    asked = [reference for _, reference, _, _ in found]
    if len(found) == 1:
        _, reference, dependents, error = found[0]
        st.markdown(f"Delete {kind} **{escape(reference)}**?")
        for sentence in dependents.sentences() if dependents else ():
            st.markdown(escape(sentence))
        if error:
            _errors.show(error)
    else:
        st.markdown(f"Delete **{counted(len(found), kind)}**?")
        for _, reference, dependents, error in found[:MOST_NAMED]:
            about = error.message if error else _in_short(dependents)
            st.markdown(f"- **{escape(reference)}**{': ' + escape(about) if about else ''}")
        if len(found) > MOST_NAMED:
            st.caption(f"and {len(found) - MOST_NAMED:,} more")
    stuck = [
        reference for _, reference, dependents, error in found
        if error or (dependents and dependents.blocked(asked))
    ]  # fmt: skip
    size = sum(dependents.size for _, _, dependents, _ in found if dependents)
    st.caption(f"Frees {formats.size(size)} on this machine. This can’t be undone." if size else "This can’t be undone.")
    help_text = f"Can’t be deleted now: {', '.join(stuck[:5])}" if stuck else None
    label = f"Delete {kind}" if len(found) == 1 else f"Delete {counted(len(found), kind)}"
    st.button(
        label, key=f"delete-{kind}-{zlib.crc32(repr(asked).encode('utf-8', 'replace'))}", type="primary", icon=":material/delete_forever:",
        disabled=bool(stuck), help=help_text and escape(help_text), on_click=_delete, args=(kind, asked, close),
    )  # fmt: skip


def _dependents(workspace: Workspace, kind: ResourceKind, reference: str, name: str) -> tuple[str, Dependents | None, StudioError | None]:
    """What is to be deleted, and what depends on it; where no single version can be, all of its name."""
    try:
        return reference, workspace.resources.dependents(kind, reference), None
    except SettingsError as error:
        try:
            return name, workspace.resources.dependents(kind, name), None
        except StudioError:
            return reference, None, error
    except StudioError as error:
        return reference, None, error


def _in_short(dependents: Dependents | None) -> str:
    if dependents is None:
        return ""
    sentences = [*dependents.reasons()]
    if dependents.run_count:
        sentences.append(f"used by {counted(dependents.run_count, 'run')}")
    sentences += dependents.notes
    return " ".join(sentences)


def _delete(kind: ResourceKind, references: Sequence[str], close: str) -> None:
    with _told_later(close):
        freed = _workspace.drawn_workspace().resources.delete(kind, references)
        what = escape(references[0]) if len(references) == 1 else counted(len(references), kind)
        st.session_state["keeping-told"] = f"Deleted **{what}**" + (f", {formats.size(freed)} freed" if freed else "")
        st.session_state[close] = False
        st.session_state.pop(Listing[Model](kind, ()).key, None)
        st.session_state.setdefault(_DELETED, set()).update((kind, reference) for reference in references)


class _told_later:
    """An error of what a click did is kept until the page shows it: in the popover of the click, where it was in one that is still open."""

    def __init__(self, popover: str = "") -> None:
        self._popover = popover

    def __enter__(self) -> None:
        st.session_state.pop("keeping-error", None)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, StudioError):
            st.session_state["keeping-error"] = error, self._popover
            return True
        return False


def show_error(popover: str = "") -> None:
    """What the last click could not do, once; in a `popover` only what a click there could not."""
    error, place = st.session_state.get("keeping-error", (None, ""))
    if error and (not popover or popover == place):
        del st.session_state["keeping-error"]
        _errors.show(error)


def show_done() -> None:
    """What the last click did, in a message. To be called where the page is drawn whatever is left."""
    if told := st.session_state.pop("keeping-told", None):
        st.toast(told, icon=":material/delete:")


# ---- many of them ------------------------------------------------------------------------------------------------------------------------


def _change_several(workspace: Workspace, listing: Listing[T], rows: Sequence[T], table: Any, config: Mapping[str, Any]) -> None:
    """The table with a tick for each row, and what can be done with those that are ticked."""
    kind = listing.kind
    these = zlib.crc32("\n".join(thing.reference for thing in rows).encode("utf-8", "replace"))  # a tick is for this list, and no other
    state = st.dataframe(
        table, key=f"several-{kind}-{these}", on_select="rerun", selection_mode="multi-row", column_config=config, hide_index=True,
        height="content" if len(rows) <= 8 else 300, alt=f"Registered: tick {kind}s", placeholder="",
    )  # fmt: skip
    chosen = [rows[row] for row in state["selection"]["rows"] if row < len(rows)]
    if not chosen:
        st.caption(f"Tick {kind}s to pin, tag, archive or delete them together.")
        show_error()
        return
    references = [thing.reference for thing in chosen]
    said = [listing.of(thing) for thing in chosen]
    st.markdown(f"**{counted(len(chosen), kind)}** selected")
    with st.container(horizontal=True):
        pin, archive = not all(one.pinned for one in said), not all(one.archived for one in said)
        _button("Pin" if pin else "Unpin", "push_pin", f"pin-several-{kind}", kind, references, pinned=pin)
        with _popover("Tag", "sell", f"tag-several-{kind}") as opened:
            if opened:
                _tag_several(kind, references)
        _button(
            "Archive" if archive else "Restore", "archive" if archive else "unarchive", f"archive-several-{kind}", kind, references,
            archived=archive,
        )  # fmt: skip
        with _popover("Delete", "delete", f"delete-several-{kind}") as opened:
            if opened:
                _ask_deletion(workspace, kind, [(thing.reference, thing.name) for thing in chosen], f"delete-several-{kind}")
    show_error()


def _tag_several(kind: ResourceKind, references: Sequence[str]) -> None:
    st.text_input("Tag", key=f"tag-of-several-{kind}", placeholder="stage=prod", help="NAME=VALUE; NAME= takes the tag away.")
    st.button(
        "Set the tag", key=f"set-tag-{kind}", type="primary", icon=":material/check:", on_click=_set_tag, args=(kind, list(references)),
    )  # fmt: skip


def _set_tag(kind: ResourceKind, references: Sequence[str]) -> None:
    text = st.session_state[f"tag-of-several-{kind}"]  # as it is typed now: the button may have been drawn before
    if not text.strip():
        return
    with _told_later(popover := f"tag-several-{kind}"):
        tags = tags_of(text)
        for reference in references:
            _workspace.drawn_workspace().resources.change(kind, reference, tags=tags)
        st.session_state[popover] = False


def empty(text: str, label: str, tab: str, icon: str) -> None:
    """What a page says that has nothing to show, and the button for the next step: its tab `tab`."""
    st.info(text, icon=icon)
    st.button(label, key="next-step", type="primary", icon=":material/add:", on_click=_open_tab, args=(tab,))


def _open_tab(tab: str) -> None:
    st.session_state["tab"] = tab
