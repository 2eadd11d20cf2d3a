"""The commands for datasets: registered with what they are read by, listed, shown."""

from __future__ import annotations

import argparse
from typing import Any

from services.cli import output
from services.cli.output import Answer, note
from services.domain import Dataset, FileDataset, Metadata, ResourceKind, TableReading, TabularDataset
from services.errors import SettingsError
from services.formats import counted
from services.intake import proposals
from services.intake.sniffing import check_reading
from services.storage.file_tree import path_given
from services.workspace import Workspace

_SHOWN_PROBLEMS = 20
_DELIMITERS = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "space": " "}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of `dataset register`."""
    add = parser.add_argument
    add("--glob", default="**", metavar="G", help="which files: *.csv at the top, **/*.csv at any depth (default: all)")
    kinds = "file (the default): each file is one item; tabular: each row is one item; auto: what the files look like"
    add("--type", choices=(FileDataset.type, TabularDataset.type, proposals.AUTO), help=kinds)
    add("--partition-format", default="", metavar="F", help="which parts of a path are keys: {store}/{brand}/*.csv")
    add("--keep-archive", action="store_true", help="a zip, tar, tar.gz or tar.zst is one item: don't unpack it")
    told = "(default: recognized by the content)"
    add("--delimiter", metavar="C", help=f"of a text: between two fields; tab for a tab {told}")
    add("--decimal", metavar="C", help=f"of a text: the decimal mark of numbers, . or , {told}")
    add("--encoding", metavar="E", help=f"of a text: utf-8, utf-16, cp1252 and so on {told}")
    add("--header", choices=("on", "off"), help=f"whether the first row names the columns {told}")
    types = ", ".join(TableReading.COLUMN_TYPES)
    add("--column", action="append", default=[], metavar="NAME=TYPE", help=f"the type of a column: {types}; repeatable")
    add("--sheet", action="append", default=[], metavar="NAME", help="of a workbook: which one to read; repeatable (default: the first)")


def register_dataset(workspace: Workspace, args: argparse.Namespace) -> Answer:
    reading = _reading(args)
    if reading and args.type in (None, FileDataset.type):
        text = "the files are registered as one item each, and so they are not read as a table"
        raise SettingsError("type", text, "Add --type tabular, or leave the options of tables out.")
    about = {"glob": args.glob, "partition_format": args.partition_format, "keep_archive": args.keep_archive}
    dataset = workspace.register_dataset(args.name, args.path, type=args.type or FileDataset.type, **about, reading=reading)
    rows = f"{counted(dataset.row_count, 'row')} in " if isinstance(dataset, TabularDataset) else ""
    size = f"{rows}{counted(dataset.file_count, 'file')}, {counted(dataset.size, 'byte')}"
    columns = dataset.columns if isinstance(dataset, TabularDataset) else ()
    lines = [f"Registered {dataset} ({size}, in {dataset.root})", *(f"  {name}: {dtype}" for name, dtype in columns)]
    lines += [f"Left out: {dataset.describe_left_out()}"] if dataset.left_out else []
    lines += [*dataset.notes, *_problem_lines(dataset)]
    if args.type is None and _is_a_table(args):
        note(f"--type auto would make a table of {'this file' if dataset.file_count == 1 else 'these files'}: each row is one item then.")
    return Answer(output.dataset_value(dataset), lines)


def list_datasets(workspace: Workspace, args: argparse.Namespace) -> Answer:
    datasets, said = output.listed(workspace, args, ResourceKind.DATASET, workspace.datasets())
    values = map(output.with_metadata, map(output.dataset_value, datasets), said)
    return Answer({"datasets": list(values)}, output.with_columns(output.dataset_lines(datasets), said))


def show_dataset(workspace: Workspace, args: argparse.Namespace) -> Answer:
    dataset = workspace.dataset(args.dataset)
    value: dict[str, Any] = {
        "reference": dataset.reference,
        "type": dataset.type,
        "item_kind": dataset.item_kind,
        "item_count": dataset.item_count,
        "file_count": dataset.file_count,
        "size": dataset.size,
        "format": None,
        "source_format": None,
        "columns": [],
        "dialect": {},
        "problems": output.problem_values(dataset),
        "problem_count": dataset.problem_count,
        "notes": dataset.notes,
        "root": dataset.root,
        "source_root": dataset.source_root or None,
    }
    facts = [f"{dataset}: {counted(dataset.item_count, dataset.item)} in {counted(dataset.file_count, 'file')}", f"Type: {dataset.type}"]
    if isinstance(dataset, TabularDataset):
        columns = [{"name": name, "type": type_} for name, type_ in dataset.typed_columns]
        source = dataset.source_format or dataset.format
        value |= {"format": dataset.format, "source_format": source, "columns": columns, "dialect": dict(dataset.dialect)}
        made = f", made of {source}" if source not in (dataset.format, "") else ""
        facts += [f"Format: {dataset.format}{made}"]
        facts += [f"Read with: {', '.join(f'{key} {text!r}' for key, text in dataset.dialect.items())}"] if dataset.dialect else []
        facts += output.table(("COLUMN", "TYPE"), dataset.typed_columns) if columns else []
    else:
        facts += [f"Each item: {dataset.item_kind}"]
    said = workspace.resources.metadata(ResourceKind.DATASET, dataset.reference).get(dataset.reference, Metadata())
    lines = [*facts, *output.metadata_lines(said), *dataset.notes, *_problem_lines(dataset)]
    return Answer(value | {"note": said.note, "tags": dict(said.tags)}, lines)


def _problem_lines(dataset: Dataset) -> list[str]:
    if not dataset.problem_count:
        return []
    lines = [f"  {problem.file}: {problem.what}" for problem in dataset.problems[:_SHOWN_PROBLEMS]]
    lines += [f"  …and {dataset.problem_count - len(lines):,} more"] if dataset.problem_count > len(lines) else []
    return [f"{counted(dataset.problem_count, 'file')} {'is' if dataset.problem_count == 1 else 'are'} odd among the others:", *lines]


def _is_a_table(args: argparse.Namespace) -> bool:
    """Whether `--type auto` would make a table of files of this machine that are no archive."""
    path = path_given(args.path)
    return path.exists() and (path.is_dir() or not args.keep_archive) and proposals.auto_type(path, args.glob) == TabularDataset.type


def _reading(args: argparse.Namespace) -> TableReading | None:
    """What was said of how tables are read; None where nothing was. Raises SettingsError."""
    header = None if args.header is None else args.header == "on"
    delimiter = _DELIMITERS.get(args.delimiter, args.delimiter)
    types = {}
    for text in args.column:
        name, equals, type_ = text.rpartition("=")  # a column may be called a=b
        if not name or not equals:
            raise SettingsError("column", f"“{text}” is not NAME=TYPE", "Write for example zip=text.")
        types[name] = type_
    reading = TableReading(delimiter, args.decimal, args.encoding, header, None, types, tuple(args.sheet))
    check_reading(reading)
    return None if reading == TableReading() else reading
