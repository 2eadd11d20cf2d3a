"""Datasets: the registered files, their contents and whether they changed; registering others."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from pages import _dataset_proposal, _errors, _file_preview, _keeping, _layout, _lineage, _tables, _workspace
from pages._dataset_proposal import FILE, TABULAR, inquiry_called
from pages._forms import form_called
from pages._text import displayable, escape, local_time, visible
from services import formats
from services.domain import Dataset, DatasetProposal, ResourceKind, TableReading, TabularDataset
from services.errors import SettingsError
from services.file_names import check_name
from services.formats import counted
from services.intake.staging import staging_folder
from services.intake.tabular import PARQUET, first_rows
from services.intake.uploads import store_uploads
from services.workspaces import chosen_workspace

REGISTERED, REGISTER = "Registered", "Register a dataset"
FILES, FOLDER, ARCHIVE, ON_THIS_MACHINE = "Files", "Folder", "Archive", "Folder on this machine"
IN_A_DATASTORE = "In a datastore"
ARCHIVE_TYPES = ["zip", "tar", "tar.gz", "tgz", "tar.zst", "tzst"]
TYPES = {kind: label for label, kind in _dataset_proposal.KINDS.items()}
PAGE = 100  # files
FIRST_ROWS = 20  # of a Parquet file
FETCHED_AT_ONCE = 50_000_000  # bytes of a remote dataset, for a look at it
CHECKED_AT_ONCE = 2_000  # files, which takes about 10 ms
MOST_CHECKED, MOST_CHANGES = 20_000, 500


def show_datasets() -> None:
    """The newest version of each dataset in a table, and below it one version in full."""
    if not datasets:
        if not _workspace.not_listed_yet():
            text = "No datasets registered yet. A dataset lists the files to score."
            _keeping.empty(text, "Register a dataset", REGISTER, ":material/folder_open:")
        return
    listing = _keeping.listing_of(workspace, ResourceKind.DATASET, datasets)
    dataset = _keeping.choose(workspace, listing, columns())
    if dataset is None:
        return
    _keeping.actions(workspace, listing, dataset, register_again=lambda: register_again(dataset))
    show_details(dataset, listing)
    _lineage.show_of_resource(workspace, ResourceKind.DATASET, dataset.reference)
    with st.expander("Labels and leaderboard", icon=":material/leaderboard:", key="leaderboard", on_change="rerun") as judged:
        if judged.open:
            show_leaderboard(dataset)
    read_again(dataset)
    st.fragment(browse_files)(dataset)


def show_leaderboard(dataset: Dataset) -> None:
    """Its labels, and the runs over it judged by them. Imported when it is opened."""
    from pages import _leaderboard, _results_labels

    _leaderboard.show(dataset.reference, "dataset")
    with st.popover("Add labels", icon=":material/add:"):
        _results_labels.add_labels([dataset.reference], lambda _: st.rerun())


def storage(dataset: Dataset) -> str:
    return "in place" if dataset.in_place else "copied"


def row_count(dataset: Dataset) -> int | None:
    return dataset.row_count or None if isinstance(dataset, TabularDataset) else None


def how_it_is_read(dataset: Dataset) -> list[str]:
    """A sentence on the format of a table's files."""
    if not isinstance(dataset, TabularDataset):
        return []
    text = _dataset_proposal.describe(dataset.source_format or dataset.format, dataset.dialect)
    kept = f"; kept as {_dataset_proposal.describe(dataset.format, {})}"
    return [f"Read as {text}{kept * (dataset.source_format not in ('', dataset.format) and dataset.format == PARQUET)}."]


def columns() -> _keeping.Columns[Dataset]:
    return _keeping.Columns(
        {"Dataset": str, "Version": int, "Files": int, "Rows": int, "Size": int, "Storage": str, "Registered": datetime},
        lambda d: (d.name, d.version, d.file_count or None, row_count(d), d.size or None, storage(d), d.created_at),
        {
            "Dataset": st.column_config.TextColumn(width=190),
            "Version": st.column_config.NumberColumn(width=70),
            "Files": st.column_config.NumberColumn(format="localized", width=90),
            "Rows": st.column_config.NumberColumn(format="localized", width=100),
            "Size": st.column_config.NumberColumn(format="bytes", width=90),
            "Storage": st.column_config.TextColumn(width=90),
            "Registered": _tables.time_column(),
        },
    )


def show_details(dataset: Dataset, listing: _keeping.Listing[Dataset]) -> None:
    """One version: its properties, its folder, and whether its files changed."""
    with st.container(border=True):
        _keeping.show_said(listing, dataset)
        _layout.facts(
            {
                "Type": TYPES[dataset.type],
                "One item": str(dataset.item_kind),
                **({"Rows": f"{row_count(dataset):,}"} if row_count(dataset) else {}),
                "Files": f"{dataset.file_count:,}" if dataset.file_count else "not counted yet",
                "Size": formats.size(dataset.size),
                "Storage": storage(dataset),
                **({"Pattern": dataset.glob} if dataset.glob != "**" else {}),
                **({"Partition format": dataset.partition_format} if dataset.partition_format else {}),
                **({"Left out": dataset.describe_left_out()} if dataset.left_out else {}),
                "Registered": local_time(dataset.created_at),
            }
        )
        for note in (*how_it_is_read(dataset), *dataset.notes):
            st.caption(escape(note))
        if dataset.problem_count:
            odd = f"{counted(dataset.problem_count, 'file')} {'is' if dataset.problem_count == 1 else 'are'} odd"
            with st.expander(odd, icon=":material/warning:", expanded=True):
                _dataset_proposal.show_problems(dataset.problems, dataset.problem_count)
        if isinstance(dataset, TabularDataset) and dataset.columns:
            with st.expander(counted(len(dataset.columns), "column"), icon=":material/view_column:"):
                size = 300 if len(dataset.columns) > 8 else "content"
                _tables.show({"Column": str, "Type": str}, dataset.typed_columns, "Columns and their types", height=size)
        if dataset.source_root:
            _layout.labelled("Folder of the original files", dataset.source_root)
        _layout.labelled("Folder", dataset.root)
        with st.container(horizontal=True):
            if st.button("Use in a new run", key=f"use-{dataset.reference}", type="primary", icon=":material/play_circle:"):
                _workspace.open_new_run(dataset=dataset.reference)
            check = st.button("Check files", key=f"check-{dataset.reference}", icon=":material/fact_check:")
        if check or ((dataset.file_count or 0) <= CHECKED_AT_ONCE and workspace.remote is None):
            with st.spinner(f"Checking {counted(dataset.file_count, 'file')}…"):
                changed = workspace.changed_files(dataset, MOST_CHECKED)
            show_changed(changed)
            show_empty([file.path for file in workspace.dataset_files(dataset, 0, MOST_CHECKED) if file.size == 0])
            if check and not changed:
                scope = "all files" if (dataset.file_count or 0) <= MOST_CHECKED else f"{MOST_CHECKED:,} evenly spread files"
                compared = "Sizes and times are" if workspace.remote is None else "Sizes are"
                text = (
                    f"{compared} the same as at registration ({scope}). Contents are not checked: a run says which files can't be scored."
                )
                st.info(text, icon=":material/fact_check:")


def register_again(dataset: Dataset) -> None:
    """Open the form for the same files under another name."""
    st.session_state["tab"] = REGISTER
    if workspace.remote is None:
        st.session_state[form.key("source")] = ON_THIS_MACHINE
        st.session_state[form.key("path")] = displayable(dataset.source_root or dataset.root)
        st.session_state[form.key("glob")] = dataset.glob
    st.session_state[form.key("description")] = displayable(dataset.description)


def show_empty(paths: list[str]) -> None:
    if paths:
        verb = "is" if len(paths) == 1 else "are"
        st.warning(f"{counted(len(paths), 'file')} {verb} empty.", icon=":material/warning:")
        st.code(displayable("\n".join(paths[:MOST_CHANGES])), language=None, height=200 if len(paths) > 7 else "content")


def show_changed(changes: list[str]) -> None:
    if changes:
        st.warning("Files have changed since registration.", icon=":material/warning:")
        st.code(displayable("\n".join(changes[:MOST_CHANGES])), language=None, height=200 if len(changes) > 7 else "content")
        more = f"The first {MOST_CHANGES:,} of {len(changes):,}. " if len(changes) > MOST_CHANGES else ""
        st.caption(f"{more}Register the folder again to score the current files.")


@_errors.shown()
def browse_files(dataset: Dataset) -> None:
    """The files on the left, in pages; a preview of the chosen one on the right."""
    if workspace.remote is not None:
        listed_datasets = st.session_state.setdefault("listed_datasets", set())
        if dataset.reference not in listed_datasets:
            if st.button("Show files", key=f"list-{dataset.reference}", icon=":material/list:"):
                with st.spinner("Loading the list of files…"):
                    workspace.dataset_files(dataset, 0, 1)
                listed_datasets.add(dataset.reference)
                st.rerun()
            return
    listed, preview = st.columns([5, 6], gap="medium")
    with listed:
        table_place = st.container()
        pages = -(-(dataset.file_count or 0) // PAGE)
        page = st.pagination(pages, key=f"page-{dataset.reference}", max_visible_pages=5) if pages > 1 else 1
        first = (page - 1) * PAGE
        files = workspace.dataset_files(dataset, first, PAGE)
        if pages > 1:
            st.caption(f"Files {first + 1:,} to {first + len(files):,} of {dataset.file_count:,}")
    state = table_place.dataframe(
        _tables.arrow({"File": str, "Size": int}, [(displayable(visible(file.path, lines=False)), file.size) for file in files]),
        key=f"paged-files-{dataset.reference}-{page}",
        on_select="rerun",
        selection_mode="single-row-required",
        height=420 if len(files) > 11 else "content",
        alt="Files of this dataset; choose one for a preview",
        column_config={
            "File": st.column_config.TextColumn(width=240),
            "Size": st.column_config.NumberColumn(format="bytes", width=80),
        },
    )
    with preview:
        for row in state.selection.rows:
            st.code(displayable(visible(files[row].path, lines=False)), language=None, wrap_lines=True)
            with st.spinner("Downloading this file…"):
                path = workspace.local_file(dataset, files[row].path)
            if isinstance(dataset, TabularDataset) and dataset.format == PARQUET:
                st.dataframe(first_rows(path, FIRST_ROWS), lazy=False, hide_index=True, height="content", alt="The first rows of the file")
            else:
                _file_preview.show_file(path)


@contextmanager
def files_to_register(source: str, path: str, uploads: list[UploadedFile]) -> Iterator[Path | str]:
    """What to register: the folder on this machine, the path in a datastore, or the temporary folder of the uploads."""
    if source == IN_A_DATASTORE:
        if "://" not in path:
            raise SettingsError("path", "No path is given", "Write azureml://datastores/NAME/paths/PATH, or an https URL.")
        yield path.strip()
        return
    if source == ON_THIS_MACHINE:
        if not path.strip():
            raise SettingsError("path", "No folder is given", "Enter the path of the folder with the files to score.")
        yield Path(path.strip())
        return
    if not uploads:
        raise SettingsError("path", "No files are uploaded", "Choose files and wait for the upload to finish.")
    with staging_folder(workspace.home) as folder:
        # getvalue() shares the bytes: two threads must not read one upload's file.
        store_uploads(((upload.name, io.BytesIO(upload.getvalue())) for upload in uploads), folder)
        inside = list(folder.iterdir())
        is_whole = source == ARCHIVE or (source == FOLDER and len(inside) == 1 and inside[0].is_dir())
        yield inside[0] if is_whole else folder


def chosen_files(source: str, path: str, glob: str, uploads: list[UploadedFile]) -> Any:
    """Which files these are, to be compared; None for none."""
    if source in (ON_THIS_MACHINE, IN_A_DATASTORE):
        return (source, path.strip(), glob.strip()) if path.strip() else None
    return (source, glob.strip(), *((upload.file_id, upload.name) for upload in uploads)) if uploads else None


def ask_for_dataset() -> None:
    """The form: the source of the files and a pattern, the name to register, and below them what the files are."""
    source_column, name_column = st.container(key="form_in_two").columns([5, 4], gap="large")
    path, glob, copy = "", "**", False
    uploads: list[UploadedFile] = []
    remote = workspace.remote
    with source_column:
        sources = [FILES, FOLDER, ARCHIVE, ON_THIS_MACHINE, *([IN_A_DATASTORE] if remote else [])]
        source = st.segmented_control("Source", sources, key=form.key("source"), default=FILES, required=True, wrap=True)
        place, pattern = st.container(), st.container()
        if source == FILES:
            uploads = place.file_uploader("Files to upload", accept_multiple_files=True, **form.proposing("files"))
        elif source == FOLDER:
            uploads = place.file_uploader("Folder to upload", accept_multiple_files="directory", **form.proposing("folder"))
            place.caption("Each file is uploaded by itself: of hundreds of files, a zip (Archive) or a folder on this machine is faster.")
        elif source == ARCHIVE:
            upload = place.file_uploader("Archive to upload", type=ARCHIVE_TYPES, **form.proposing("archive"))
            uploads = [upload] if upload else []
        elif source == IN_A_DATASTORE:
            hint = "azureml://datastores/workspaceblobstore/paths/orders/**"
            path = place.text_input("Path in a datastore, or an https URL", placeholder=hint, **form.proposing("place"))
        else:
            help_text = "Or of a file, or of an archive (zip, tar, tar.gz, tar.zst), whose files are copied into the workspace."
            path = place.text_input("Path of the folder", placeholder="/home/me/orders", help=help_text, **form.proposing("path"))
            help_text = "Otherwise runs read the files in place."
            copy = bool(remote) or place.toggle("Copy the files into the workspace", key=form.key("copy"), help=help_text)
        if source not in (FILES, IN_A_DATASTORE):
            help_text = "`**` matches every file, `*.csv` the CSV files at the top, `**/*.csv` those at any depth."
            glob = pattern.text_input("Pattern", "**", key=form.key("glob"), help=help_text)
    with name_column:
        fields = {"path": place, "glob": pattern, "name": st.container()}
        with fields["name"]:
            name = form.ask_name()
        description = form.ask_description()
        with st.expander("Partition format", icon=":material/folder_copy:"):
            help_text = "The parts of a path that `partition_keys` can name: `{store}/{brand}/*.csv`, `{when:yyyy/MM/dd}/part.csv`."
            partition_format = st.text_input("Partition format", key=form.key("partition_format"), on_change=form.on_change, help=help_text)
        fields["partition_format"] = st.container()
    inquiry = inquiry_called(form.key("inquiry"))
    inquiry.about(chosen_files(source, path, glob, uploads), FILE if source == IN_A_DATASTORE else "")

    def look(kind: str, reading: TableReading) -> DatasetProposal:
        with files_to_register(source, path, uploads) as folder:
            return workspace.propose_dataset(folder, type=kind, glob=glob.strip(), reading=reading)

    fields |= _dataset_proposal.show(inquiry, form.key, None if source == IN_A_DATASTORE else look, fields, form.error)

    def register() -> str:
        check_name("name", name)  # before unpacking a long upload
        options: dict[str, Any] = {"glob": glob.strip(), "description": description, "copy": copy, "type": inquiry.type}
        options["partition_format"] = partition_format.strip()
        with files_to_register(source, path, uploads) as folder:
            return workspace.register_dataset(name, folder, reading=inquiry.corrections, **options).reference

    form.submit("Register dataset", "Listing and checking the files…", register, fields)
    if form.error:
        inquiry.said(form.error)


@_errors.shown()
def read_again(dataset: Dataset) -> None:
    """The files of a registered dataset as items of the other kind, or read in another way: its next version."""
    other = TABULAR if dataset.type == FILE else FILE
    label = "Score its rows, not its files" if other == TABULAR else "Read it in another way"
    with st.expander(label, icon=":material/swap_horiz:", key=f"again-{dataset.reference}", on_change="rerun") as expander:
        if not expander.open:
            return
        again = form_called(f"again-{dataset.reference}")
        st.caption("The same files, read again: the next version of this dataset. This version stays as it is.")
        inquiry = inquiry_called(again.key("inquiry"))
        inquiry.about(dataset.reference, TABULAR)
        nearby = workspace.remote is None or (dataset.size is not None and dataset.size <= FETCHED_AT_ONCE)

        def look(kind: str, reading: TableReading) -> DatasetProposal:
            return workspace.propose_reread(dataset.reference, kind, reading)

        fields = {"path": st.container()}
        fields |= _dataset_proposal.show(inquiry, again.key, look if nearby else None, fields, again.error)

        def register() -> str:
            return workspace.reread_dataset(dataset.reference, inquiry.type, inquiry.corrections).reference

        again.submit("Register the next version", "Reading the files…", register, fields)
        if again.error:
            inquiry.said(again.error)


_layout.title("Datasets", "The files to score, or the rows in them. A version always means the same files.")
workspace = chosen_workspace()
form = form_called("dataset")
form.show_registered(REGISTERED)
_keeping.show_done()
for name, again in list(st.session_state.items()):
    if str(name).startswith("form-again-"):
        again.show_registered(REGISTERED, "dataset")
datasets = workspace.datasets()
registered, register = st.tabs([REGISTERED, REGISTER], key="tab", bind="query-params", on_change="rerun")
with registered:
    if registered.open:
        show_datasets()
with register:
    ask_for_dataset()
