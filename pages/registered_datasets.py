"""Datasets: which files are registered, what they hold and whether they changed since; registering others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from pages import _file_preview, _shared
from pages._form import form_called
from services import formats
from services.domain import Dataset, TabularDataset
from services.errors import SettingsError
from services.formats import counted
from services.intake import names
from services.intake.staging import staging_folder
from services.intake.tabular import PARQUET, first_rows
from services.intake.uploads import extract_zip, store_uploads

REGISTERED, REGISTER = "Registered", "Register a dataset"
FILES, FOLDER, ZIP, ON_THIS_MACHINE = "Files", "Folder", "Zip", "Folder on this machine"
IN_A_DATASTORE = "In a datastore"
TYPES = {"File: run() gets paths": "file", "Tabular: run() gets rows": "tabular"}
PAGE = 100  # files
FIRST_ROWS = 20  # of a Parquet file
CHEAP_TO_CHECK = 2_000  # files: looking at each takes some 10 ms in all
MOST_LOOKED_AT, MOST_SENTENCES = 20_000, 500


def show_datasets() -> None:
    """The newest version of each dataset in a table, and below it one version in full."""
    if not datasets:
        if _shared.known_later():
            return
        st.info("No dataset is registered yet. It says which files a run scores.", icon=":material/folder_open:")
        return
    table_place = st.container()
    references = [dataset.reference for dataset in datasets]
    _shared.say_if_gone("dataset", references)
    chosen = st.selectbox("Dataset and version", references, key="dataset", bind="query-params", width=420)
    dataset = datasets[references.index(chosen)]
    with table_place:
        latest = _shared.latest_versions(datasets)
        show_table(latest, [other.name for other in latest].index(dataset.name))
    show_details(dataset)
    st.fragment(browse_files)(dataset)


def kept(dataset: Dataset) -> str:
    return "in place" if dataset.in_place else "copied in"


def show_table(rows: list[Dataset], position: int) -> None:
    columns = {"Dataset": str, "Version": int, "Files": int, "Rows": int, "Size": int, "Kept": str, "Registered": datetime}
    row_counts = [dataset.row_count or None if isinstance(dataset, TabularDataset) else None for dataset in rows]
    cells = [
        (d.name, d.version, d.file_count or None, count, d.size or None, kept(d), d.created_at)
        for d, count in zip(rows, row_counts, strict=True)
    ]
    _shared.choosing_table(
        _shared.arrow_table(columns, cells),
        "dataset",
        [dataset.reference for dataset in rows],
        position,
        {
            "Dataset": st.column_config.TextColumn(width=220),
            "Version": st.column_config.NumberColumn(width=70),
            "Files": st.column_config.NumberColumn(format="localized", width=90),
            "Rows": st.column_config.NumberColumn(format="localized", width=100),
            "Size": st.column_config.NumberColumn(format="bytes", width=90),
            "Kept": st.column_config.TextColumn(width=90),
            "Registered": _shared.time_column(),
        },
    )


def show_details(dataset: Dataset) -> None:
    """One version: what it is, where its files lie, whether they are still what was registered."""
    with st.container(border=True):
        if dataset.description:
            st.text(_shared.shown(dataset.description))
        _shared.facts(
            {
                "Type": dataset.type,
                **({"Rows": f"{dataset.row_count:,}"} if isinstance(dataset, TabularDataset) and dataset.row_count else {}),
                "Files": f"{dataset.file_count:,}" if dataset.file_count else "not counted yet",
                "Size": formats.size(dataset.size),
                "Kept": kept(dataset),
                "Pattern": dataset.glob,
                **({"Partition format": dataset.partition_format} if dataset.partition_format else {}),
                "Registered": _shared.local_time(dataset.created_at),
            }
        )
        if isinstance(dataset, TabularDataset) and dataset.columns:
            with st.expander(counted(len(dataset.columns), "column"), icon=":material/view_column:"):
                names = [(_shared.shown(name), dtype) for name, dtype in dataset.columns]
                table = _shared.arrow_table({"Column": str, "Type": str}, names)
                st.dataframe(table, lazy=False, height=300 if len(names) > 8 else "content", alt="The columns and their types")
        _shared.labelled("Folder", dataset.root)
        with st.container(horizontal=True):
            if st.button("Use in a new run", key=f"use-{dataset.reference}", type="primary", icon=":material/play_circle:"):
                _shared.open_new_run(dataset=dataset.reference)
            check = st.button("Check files", key=f"check-{dataset.reference}", icon=":material/fact_check:")
        if check or ((dataset.file_count or 0) <= CHEAP_TO_CHECK and workspace.remote is None):
            with st.spinner(f"Looking at {counted(dataset.file_count, 'file')} …"):
                changed = workspace.changed_files(dataset, MOST_LOOKED_AT)
            show_changed(changed)
            if check and not changed:
                looked_at = "All files" if (dataset.file_count or 0) <= MOST_LOOKED_AT else f"Some {MOST_LOOKED_AT:,} files, evenly spread,"
                st.success(f"{looked_at} were looked at: none has changed since it was registered.", icon=":material/check_circle:")


def show_changed(sentences: list[str]) -> None:
    if sentences:
        st.warning("Not all files are what they were when they were registered.", icon=":material/warning:")
        st.code(_shared.shown("\n".join(sentences[:MOST_SENTENCES])), language=None, height=200 if len(sentences) > 7 else "content")
        more = f"These are the first {MOST_SENTENCES:,} of {len(sentences):,}. " if len(sentences) > MOST_SENTENCES else ""
        st.caption(f"{more}Register the folder again to score the files as they are now.")


@_shared.errors_shown()
def browse_files(dataset: Dataset) -> None:
    """The list of files on the left, a page at a time; the beginning of the chosen one on the right."""
    if workspace.remote is not None:
        wanted = st.session_state.setdefault("files_wanted", set())
        if dataset.reference not in wanted:
            if st.button("Show its files", key=f"list-{dataset.reference}", icon=":material/list:"):
                with st.spinner("Asking for the names and sizes of its files …"):
                    workspace.dataset_files(dataset, 0, 1)
                wanted.add(dataset.reference)
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
        _shared.arrow_table({"File": str, "Size": int}, [(file.path, file.size) for file in files]),
        key=f"files-{dataset.reference}-{page}",
        on_select="rerun",
        selection_mode="single-row-required",
        height=420 if len(files) > 11 else "content",
        alt="Files of this dataset; choose one to see its beginning",
        column_config={
            "File": st.column_config.TextColumn(width=240),
            "Size": st.column_config.NumberColumn(format="bytes", width=80),
        },
    )
    with preview:
        for row in state.selection.rows:
            st.code(_shared.shown(files[row].path), language=None, wrap_lines=True)
            with st.spinner("Fetching this file …"):
                path = workspace.local_file(dataset, files[row].path)
            if isinstance(dataset, TabularDataset) and dataset.format == PARQUET:
                st.dataframe(first_rows(path, FIRST_ROWS), lazy=False, hide_index=True, height="content", alt="The first rows of the file")
            else:
                _file_preview.show_file(path)


def propose_name(field: str) -> None:
    chosen = st.session_state[form.key(field)]
    if chosen and field == "folder":
        form.propose(chosen[0].name.split("/")[0] + "/")
    elif chosen:
        form.propose(chosen if field == "path" else chosen.name)


@contextmanager
def files_to_register(source: str, path: str, uploads: list[UploadedFile]) -> Iterator[Path | str]:
    """What to register: the folder on this machine, the place in a datastore, or where uploads are put for the time being."""
    if source == IN_A_DATASTORE:
        if "://" not in path:
            raise SettingsError("path", "no place is given", "Write azureml://datastores/NAME/paths/PATH, or an https address.")
        yield path.strip()
        return
    if source == ON_THIS_MACHINE:
        if not path.strip():
            raise SettingsError("path", "no folder is chosen", "Write the path of the folder that holds the files to score.")
        yield Path(path.strip())
        return
    if not uploads:
        raise SettingsError("path", "nothing is uploaded", "Choose what to upload, and wait until it is.")
    with staging_folder(workspace.home) as folder:
        if source == ZIP:
            extract_zip(uploads[0], folder)
        else:
            store_uploads(((upload.name, upload) for upload in uploads), folder)
        inside = list(folder.iterdir())
        yield inside[0] if source == FOLDER and len(inside) == 1 and inside[0].is_dir() else folder


def ask_for_dataset() -> None:
    """The form: where the files are, which of them, and what they are to be called."""
    where, what = st.columns([5, 4], gap="large")
    path, glob, copy = "", "**", False
    uploads: list[UploadedFile] = []

    def proposing(field: str) -> dict[str, Any]:
        return {"key": form.key(field), "on_change": propose_name, "args": (field,)}

    remote = workspace.remote
    with where:
        sources = [FILES, FOLDER, ZIP, ON_THIS_MACHINE, *([IN_A_DATASTORE] if remote else [])]
        source = st.segmented_control("Where the files are", sources, key=form.key("source"), default=FILES, required=True, wrap=True)
        place, pattern = st.container(), st.container()
        if source == FILES:
            uploads = place.file_uploader("Files to upload", key=form.key("files"), accept_multiple_files=True, on_change="ignore")
        elif source == FOLDER:
            uploads = place.file_uploader("Folder to upload", accept_multiple_files="directory", **proposing("folder"))
        elif source == ZIP:
            upload = place.file_uploader("Zip to upload", type="zip", **proposing("zip"))
            uploads = [upload] if upload else []
        elif source == IN_A_DATASTORE:
            hint = "azureml://datastores/workspaceblobstore/paths/orders/**"
            path = place.text_input("Its place, or an https address", placeholder=hint, **proposing("place"))
        else:
            path = place.text_input("Path of the folder", placeholder="/home/me/orders", **proposing("path"))
            words = "Else they are read where they are."
            copy = bool(remote) or place.toggle("Copy the files into the workspace", key=form.key("copy"), help=words)
        if source not in (FILES, IN_A_DATASTORE):
            help_text = "`**` is every file, `*.csv` the CSV files at the top, `**/*.csv` those at any depth."
            glob = pattern.text_input("Pattern", "**", key=form.key("glob"), on_change="ignore", help=help_text)
    with what:
        fields = {"path": place, "glob": pattern, "name": st.container()}
        with fields["name"]:
            name = form.ask_name()
        description = st.text_input("Description", key=form.key("description"), on_change="ignore", placeholder="optional")
        kind = next(iter(TYPES))
        words = "Tabular: the rows of CSV or Parquet files of the same columns, as a pandas DataFrame. All of them are read once, now"
        words += ", unless they lie in a datastore." if remote else "."
        kind = st.segmented_control("Type", TYPES, key=form.key("type"), default=kind, required=True, help=words)
        with st.expander("Partition format", icon=":material/folder_copy:"):
            words = "Which parts of a path are keys that `partition_keys` can name: `{store}/{brand}/*.csv`, `{when:yyyy/MM/dd}/part.csv`."
            partition_format = st.text_input("Partition format", key=form.key("partition_format"), on_change="ignore", help=words)
        fields |= {"type": st.container(), "partition_format": st.container()}

    def register() -> str:
        names.check_name("name", name)  # before a long upload is unpacked
        about: dict[str, Any] = {"glob": glob.strip(), "description": description.strip(), "copy": copy, "type": TYPES[kind]}
        about["partition_format"] = partition_format.strip()
        with files_to_register(source, path, uploads) as folder:
            return workspace.register_dataset(name, folder, **about).reference

    progress = (lambda: remote.state().message) if remote else None
    form.submit("Register dataset", "Taking the files in and writing the list of them …", register, progress=progress)
    form.show_error(fields, place)


_shared.title("Datasets", "What is scored: files, or the rows in them. A version means the same files for ever.")
workspace = _shared.workspace()
form = form_called("dataset")
form.show_made(REGISTERED)
datasets = workspace.datasets()
registered, register = st.tabs([REGISTERED, REGISTER], key="tab", bind="query-params", on_change="rerun")
with registered:
    if registered.open:
        show_datasets()
with register:
    ask_for_dataset()
