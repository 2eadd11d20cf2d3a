"""What one item of a file dataset is, recognized by the first bytes of its files; and which files are odd among the others.

Nothing heavy is imported: a few files are looked at in this process, many by `python -m services.intake.item_kinds ROOT LIST`.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from services import PROJECT_ROOT, PYTHON
from services.domain import DatasetProblem, ItemKind
from services.file_names import short
from services.formats import counted
from services.intake.sniffing import delimiter_among
from services.storage.manifest import read_manifest

HEAD = 1 << 16
"""Bytes of a file that are looked at."""
MOST_PROBLEMS = 1_000
SECONDS = 30.0
"""For all files of a dataset."""

_IN_THIS_PROCESS = 500  # files, some 20 ms
_SAMPLE = 200  # files that say what all are
_ROWS = 20  # of a file
_MANY_FIELDS = 1_000  # of a line that doesn't end within the head
_NUMBER = re.compile(r"[ \t]*([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity))?[ \t]*", re.IGNORECASE)
_PLAIN = b"0123456789.,+-eE \r"  # as the built-in script for rows has it
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))
_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Look:
    """What one file is: how many fields its rows have and its `header`, where it has rows and they are known; `odd` is what keeps it from
    being scored."""

    kind: ItemKind
    fields: int = 0
    header: tuple[str, ...] = ()
    odd: str = ""


@dataclass(frozen=True)
class Kinds:
    """What the files of a dataset are, the first of the odd ones, how many are odd; and how many of `count` files were looked at."""

    kind: ItemKind
    problems: tuple[DatasetProblem, ...]
    problem_count: int
    looked_at: int
    count: int
    fields: int = 0
    header: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        if self.looked_at == self.count:
            return ()
        return (f"Only {self.looked_at:,} of {counted(self.count, 'file')} were looked at for odd ones, in {SECONDS:.0f} s.",)


def look_at(path: Path | str) -> Look:
    """What one file is, by its first bytes. Raises OSError."""
    with open(path, "rb", buffering=0) as opened:
        head = opened.read(HEAD)
        whole = len(head) < HEAD or not opened.read(1)
    return look_at_head(head, whole=whole)


# ---- one file -----------------------------------------------------------------------------------------------------------------------


def look_at_head(head: bytes, *, whole: bool = True) -> Look:
    """What a file is that begins with these bytes; `whole` where they are all of it."""
    if not head.strip(b" \t\r\n\xef\xbb\xbf"):
        return Look(ItemKind.OTHER, odd="it is empty")
    row = head.strip(b" \r\n")
    if whole and b"\n" not in row and not row.translate(None, _PLAIN) and b"\r" not in row and any(48 <= byte <= 57 for byte in row):
        fields = row.decode().split(",")
        if all(map(_NUMBER.fullmatch, fields)):
            return Look(ItemKind.ROW_FILE, len(fields), odd=_holes(fields))
    if head.startswith(_IMAGES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or head[4:12] in (b"ftypheic", b"ftypavif", b"ftypmif1"):
        return Look(ItemKind.IMAGE)
    if head.startswith(b"\x1f\x8b"):
        return _look_at_gzip(head, whole=whole)
    encoding, text = _text(head, whole=whole)
    if text is None:
        return Look(ItemKind.OTHER)
    look = _look_at_text(text, whole=whole)
    if encoding and look.kind is not ItemKind.TEXT:
        return Look(look.kind, look.fields, look.header, look.odd or f"it is {encoding} text, not UTF-8")
    return look


def _look_at_gzip(head: bytes, *, whole: bool) -> Look:
    try:
        unpacked = (unpacker := zlib.decompressobj(31)).decompress(head, HEAD)
    except zlib.error as error:
        return Look(ItemKind.OTHER, odd=f"it is a damaged gzip file: {error}")
    if whole and not unpacker.eof and len(unpacked) < HEAD:
        return Look(ItemKind.OTHER, odd="it is half a gzip file")
    return look_at_head(unpacked, whole=unpacker.eof) if unpacked and not unpacked.startswith(b"\x1f\x8b") else Look(ItemKind.OTHER)


def _text(head: bytes, *, whole: bool) -> tuple[str, str | None]:
    """The encoding where it isn't UTF-8, and the text; None for what is none."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16", head.decode("utf-16", "ignore")
    if head.translate(None, _CONTROLS) != head:
        return "", None
    try:
        return "", head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if not whole and error.start > len(head) - 4:
            return "", head[: error.start].decode("utf-8-sig")
    return "another encoding’s", head.decode("latin-1")


def _look_at_text(text: str, *, whole: bool) -> Look:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not whole and len(lines) == 1:
        return _look_at_long_row(lines[0])
    if not whole:
        lines = lines[:-1]  # the last one is cut off
    lines = [line for line in islice(lines, 500) if line.strip()]
    tables = {}
    for delimiter in (",", *_OTHER_DELIMITERS):
        if not any(delimiter in line for line in lines[:2]) and delimiter != ",":
            continue
        try:
            rows = list(islice(csv.reader(lines, delimiter=delimiter), _ROWS))
        except csv.Error:
            continue
        if len({len(row) for row in rows}) == 1 or (len(rows) == 2 and _numeric(rows[1])):
            tables[delimiter] = rows
    delimiter = delimiter_among({each: rows for each, rows in tables.items() if len(rows[0]) > 1}) or ","
    rows = tables.get(delimiter, [])
    if not rows:
        return Look(ItemKind.TEXT)
    if delimiter != ",":
        rows = [[_point(field) for field in row] for row in rows]
    is_whole = whole and len(rows) < _ROWS
    look = _look_at_rows(rows, is_whole=is_whole)
    if delimiter != "," and look.kind is not ItemKind.TEXT:
        return Look(look.kind, look.fields, look.header, f"its fields are separated by {_OTHER_DELIMITERS[delimiter]}, not by commas")
    return look


def _look_at_long_row(line: str) -> Look:
    """Of a file whose first line does not end within the head: very many numbers, or a header of very many columns."""
    delimiter = max((",", *_OTHER_DELIMITERS), key=line.count)
    fields = line.split(delimiter)[:-1]
    if len(fields) < _MANY_FIELDS:
        return Look(ItemKind.TEXT)
    return Look(ItemKind.ROW_FILE if all(map(_NUMBER.fullmatch, map(_point, fields))) else ItemKind.TABLE_FILE)


def _point(field: str) -> str:
    """A number with a decimal comma with a point, others as they are."""
    match = re.fullmatch(r"(\s*[+-]?(?:\d*|\d{1,3}(?:\.\d{3})+)),(\d+\s*)", field)
    return f"{match[1].replace('.', '')}.{match[2]}" if match else field


def _look_at_rows(rows: Sequence[Sequence[str]], *, is_whole: bool) -> Look:
    first, width = rows[0], len(rows[0])
    numbers = sum(map(_is_number, first))
    if len(rows) == 1:
        if is_whole and width > 1 and numbers * 2 >= width:
            odd = [str(number + 1) for number, field in enumerate(first) if field.strip() and not _is_number(field)]
            verb, columns = ("is not a number", "column") if len(odd) == 1 else ("are not numbers", "columns")
            places = f"{len(odd)} of {width} fields {verb}: {columns} {', '.join(odd[:5])}{', ...' if len(odd) > 5 else ''}"
            return Look(ItemKind.ROW_FILE, width, odd=places if odd else _holes(first))
        return Look(ItemKind.ROW_FILE, width) if is_whole and numbers == width else Look(ItemKind.TEXT)
    has_header = not numbers and all(field.strip() for field in first)
    if len(rows) == 2 and not any(map(_is_number, chain(*rows))):  # prose has commas too
        return Look(ItemKind.TEXT)
    if len(rows) == 2 and is_whole and has_header:
        unequal = f"its header has {width} fields, and its row {len(rows[1])}" if len(rows[1]) != width else ""
        return Look(ItemKind.HEADED_ROW_FILE, len(rows[1]), tuple(first), unequal)
    if width > 1 or all(map(_numeric, rows[1:])):
        return Look(ItemKind.TABLE_FILE, width, tuple(first) if has_header else ())
    return Look(ItemKind.TEXT)


def _is_number(field: str) -> bool:
    return bool(field.strip() and _NUMBER.fullmatch(field))


def _numeric(row: Sequence[str]) -> bool:
    return any(field.strip() for field in row) and all(map(_NUMBER.fullmatch, row))


def _holes(fields: Sequence[str]) -> str:
    empty = [str(number + 1) for number, field in enumerate(fields) if not field.strip()]
    if not empty:
        return ""
    verb = "field is" if len(empty) == 1 else "fields are"
    return f"{len(empty)} of its {len(fields)} {verb} empty: {', '.join(empty[:5])}{', ...' if len(empty) > 5 else ''}"


# ---- all files ------------------------------------------------------------------------------------------------------------------------


def look_at_files(root: Path, manifest: Path, count: int) -> Kinds:
    """What the files below `root` that the manifest lists are, and the odd ones; takes at most about SECONDS."""
    if count <= _IN_THIS_PROCESS:
        return _look_at_all(root, [file.path for file in read_manifest(manifest)])
    command = [*PYTHON, "-m", "services.intake.item_kinds", str(root.absolute()), str(manifest.absolute())]
    child = subprocess.run(command, cwd=PROJECT_ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if child.returncode:  # what the files are is good to know, and not needed to register them
        return Kinds(ItemKind.OTHER, (), 0, 0, count)
    answer = json.loads(child.stdout)
    problems = tuple(DatasetProblem(file, what) for file, what in answer["problems"])
    return Kinds(
        ItemKind(answer["kind"]), problems, answer["problem_count"], answer["looked_at"], count, answer["fields"], tuple(answer["header"])
    )


def _look_at_all(root: Path, paths: list[str]) -> Kinds:
    until = time.monotonic() + SECONDS
    step = max(1, len(paths) // _SAMPLE)
    sample = [_look_at(f"{root}/{path}") for path in paths[::step]]
    kind, fields, header = _what_most_are(sample)
    problems: list[DatasetProblem] = []
    problem_count = looked_at = 0
    for path in _in_turns(paths):
        if looked_at % 1000 == 0 and time.monotonic() > until:
            break
        looked_at += 1
        if what := _oddness(_look_at(f"{root}/{path}"), kind, fields, header):
            problem_count += 1
            problems.append(DatasetProblem(path, what))
    problems.sort(key=lambda problem: problem.file)
    return Kinds(kind, tuple(problems[:MOST_PROBLEMS]), problem_count, looked_at, len(paths), fields, header)


def _in_turns(paths: list[str]) -> Iterator[str]:
    """All of them, evenly spread ones first where they are too many to be sure of the end."""
    step = 10 if len(paths) > 100_000 else 1
    return chain.from_iterable(islice(paths, begin, None, step) for begin in range(step))


def _look_at(path: str) -> Look:
    try:
        return look_at(path)
    except OSError as error:
        return Look(ItemKind.OTHER, odd=f"it can't be read: {error.strerror or error}")


def _what_most_are(looks: Iterable[Look]) -> tuple[ItemKind, int, tuple[str, ...]]:
    """The kind of most files that are something, and of these the commonest number of fields and header."""
    looks = [look for look in looks if look != Look(ItemKind.OTHER, odd="it is empty")] or [Look(ItemKind.OTHER)]
    kind = Counter(look.kind for look in looks).most_common(1)[0][0]
    rows = Counter((look.fields, look.header) for look in looks if look.kind is kind)
    fields, header = rows.most_common(1)[0][0]
    return kind, fields, header


def _oddness(look: Look, kind: ItemKind, fields: int, header: tuple[str, ...]) -> str:
    """A sentence where this file is not like most, or can't be scored; else ""."""
    if look.odd and (kind is not ItemKind.TEXT or look.kind is ItemKind.OTHER) and (look.kind in (kind, ItemKind.OTHER)):
        return _sentence(look.odd)
    if look.kind is not kind:
        if kind in (ItemKind.TEXT, ItemKind.OTHER) and look.kind is not ItemKind.OTHER:
            return ""  # a text may look like a row, and nothing is known of what is not text
        if kind is ItemKind.ROW_FILE and look.kind is ItemKind.HEADED_ROW_FILE:
            return "It begins with a header row; most are files of one row of numbers."
        what = "neither text nor an image" if look.kind is ItemKind.OTHER else look.kind.value
        return _sentence(f"it is {what}; most are {kind.plural}")
    if look.fields != fields and look.fields and fields:
        return _sentence(f"it has {counted(look.fields, 'field')}, and most files have {fields:,}")
    if header and look.header != header:
        lacks = [name for name in header if name not in look.header]
        other = f"it lacks “{short(lacks[0])}”" if lacks else "its columns are in another order"
        return _sentence(f"its header is another one: {other}")
    return ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def main() -> int:
    root, manifest = map(Path, sys.argv[1:])
    kinds = _look_at_all(root, [file.path for file in read_manifest(manifest)])
    problems = [(problem.file, problem.what) for problem in kinds.problems]
    answer = {"kind": kinds.kind, "problems": problems, "problem_count": kinds.problem_count, "looked_at": kinds.looked_at}
    print(json.dumps(answer | {"fields": kinds.fields, "header": kinds.header}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
