"""What a model's files are, recognized by their content, and what they would import if someone loaded them. Nothing here is ever loaded.

A list of imports is information, no verdict: scanners were seen to call hostile models clean. What protects is consent, by SHA-256, and
a process of its own. So a model needs approval unless every file of it is of a format that holds no program and that pickle would refuse.
"""

from __future__ import annotations

import bz2
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from services.errors import IntakeError, os_errors_as
from services.file_names import short
from services.formats import counted
from services.intake.pickle_scan import BROKEN, PickleScan, Stream, refused_by_pickle, scan_pickles
from services.storage.file_tree import files_of

_MAX_FILES = 10_000
_MODEL_NAMES = re.compile(r"\.(pkl|pickle|joblib|onnx|pt|pth|h5|hdf5|keras|skops|safetensors|ubj|cbm|npz|bin|zip)$", re.IGNORECASE)
_Opener = Callable[[], BinaryIO]
_END_MISSING = ", the end is missing"
_ANOTHER_LOADERS = re.compile(
    r"ONNX|XGBoost|LightGBM|CatBoost|HDF5|Keras|PyTorch|skops|safetensors|NumPy|zip archive|Git LFS pointer|HTML page|error message|"
    r"unknown|empty file"
)
_PAGE = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--[^>]*>\s*)*<((!doctype html|html|head|body|meta|title|script)\b|(?P<error>error>))",
    re.IGNORECASE,
)
_PLAIN_NUMPY_HEADER = re.compile(
    rb"\{'descr': '[<>|=]?[?biufcSUVmM]\d*(\[\d*\w+\])?', 'fortran_order': (True|False), 'shape': \([\d, ]*\), *\} *\n"
)


def may_be_model(name: str, files: Collection[str] = ()) -> bool:
    """Whether what is called so may be a model, where nothing but names is known: a file by its ending, a folder of these `files` by the
    MLmodel file in it."""
    return _MODEL_NAMES.search(name) is not None or f"{name}/MLmodel" in files


@dataclass(frozen=True)
class ModelContent:
    """What a model is: `kind` for people, whether a run may use it only once approved, and what unpickling it would import.

    `imports` are sorted `module.name`s; where not `scanned_whole` there may be more. `features` is how many columns an estimator of
    scikit-learn was fitted to; None where the file doesn't tell, as for a pipeline.
    """

    kind: str
    needs_approval: bool
    imports: tuple[str, ...] = ()
    scanned_whole: bool = True
    features: int | None = None


_NO_MODEL = {
    "Git LFS pointer": (
        "a Git LFS pointer: its content was not downloaded",
        "Run git lfs pull in its repository; choose it again.",
    ),
    "error message in XML": (
        "an error message in XML, such as a store sends in place of a file",
        "Download the model again, and check how it begins.",
    ),
    "HTML page": ("an HTML page, such as a sign-in or error page saved in its place", "Download the model again, and check how it begins."),
}
"""What is registered by mistake in place of a model, and what to do."""


def inspect_model(path: Path) -> ModelContent:
    """What the file or folder at `path` is. Reads it, never loads it; bounded in memory and time whatever it holds. Raises NotFound where
    there is nothing, IntakeError where it is empty, can't be read, is no file or folder, or certainly no model."""
    files = files_of(path)
    if not any(size for _, _, size in files):
        what = "is empty" if path.is_file() else "holds only empty files"
        raise IntakeError(f"The model “{path.name}” {what}.", "Choose the file that your training script saved.")
    scan = PickleScan()
    with os_errors_as(IntakeError, f"The model “{path.name}” can't be read"):
        contents = [_content(cast(_Opener, partial(open, name, "rb")), size, scan) for _, name, size in files[:_MAX_FILES]]
    if path.is_dir():
        return _together("folder", contents, len(files), scan)
    kind, needs_approval = contents[0]
    if kind in _NO_MODEL:
        what, hint = _NO_MODEL[kind]
        raise IntakeError(f"“{short(path.name)}” is not a model but {what}.", hint)
    return ModelContent(kind, needs_approval, tuple(sorted(scan.imports)), scan.whole, scan.features if scan.whole else None)


def joblib_loads(kind: str) -> bool | None:
    """Whether `joblib.load` takes a model of this `ModelContent.kind`; None where the kind doesn't tell, as for a folder of several."""
    if kind.startswith(("joblib", "pickle")):
        return True
    kinds = kind.removeprefix("folder: ")
    if not _ANOTHER_LOADERS.match(kinds) or (kinds != kind and re.search(r"(^|, )(joblib|pickle|…)", kinds)):
        return None
    return False


def _together(noun: str, contents: list[tuple[str, bool]], count: int, scan: PickleScan) -> ModelContent:
    """Several files as one: those that need approval are named first."""
    kinds = list(dict.fromkeys(kind for kind, _ in sorted(contents, key=lambda content: not content[1])))
    named = ", ".join(kinds[:3]) + (", …" if len(kinds) > 3 else "")
    needs_approval = any(needs for _, needs in contents) or count > len(contents)
    scan.whole &= count == len(contents)
    return ModelContent(f"{noun}: {named}, {counted(count, 'file')}", needs_approval, tuple(sorted(scan.imports)), scan.whole)


def _content(opened: _Opener, size: int, scan: PickleScan, *, nested: bool = False) -> tuple[str, bool]:
    """Kind and `needs_approval` of one file, or of one member of an archive (`nested`). Raises OSError where it can't be read."""
    if size == 0:
        return "empty file", False
    with opened() as source:
        head = source.read(65536)
    if head.startswith(b"PK\x03\x04") and not nested:
        return _zip_content(opened, scan)
    if pickled := _compressed(head, opened, scan) or _pickled(head, opened, scan):
        return pickled
    kind = (None if nested else _elsewhere_a_program(opened, size)) or _without_code(head, opened, size, scan) or ("unknown", True)
    scan.whole &= not kind[1]  # a program that is no pickle may import what can't be listed
    return kind


# ---- formats that are programs ---------------------------------------------------------------------------------------------------


class _Zlib(io.RawIOBase):
    """Unpacks one stream of zlib or gzip, as joblib does, and no more of it at a time than is asked for."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS + 32)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        unpacked = b""
        while not unpacked and not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._source.read(65536)
            if not packed:
                raise EOFError("cut off")
            unpacked = self._inflate.decompress(packed, len(buffer))
        buffer[: len(unpacked)] = unpacked
        return len(unpacked)


_COMPRESSIONS: tuple[tuple[bytes, str, Callable[[BinaryIO], Any]], ...] = (
    (b"x", "zlib", _Zlib),
    (b"\x1f\x8b", "gzip", _Zlib),
    (b"BZ", "bz2", bz2.BZ2File),
    (b"\xfd7zXZ", "xz", lzma.LZMAFile),
    (b"]\x00", "lzma", lzma.LZMAFile),
)
"""joblib's own prefixes: what it takes for compressed, so do we."""


def _compressed(head: bytes, opened: _Opener, scan: PickleScan) -> tuple[str, bool] | None:
    """A pickle that joblib compressed, or something else that is compressed."""
    if head.startswith((b"\x04\x22\x4d\x18", b"ZF")):
        scan.whole = False
        return ("joblib (lz4-compressed pickle)" if head.startswith(b"\x04") else "joblib (compressed pickle of joblib < 0.10)"), True
    for prefix, name, unpack in _COMPRESSIONS:
        if head.startswith(prefix):
            with opened() as source:
                try:
                    unpacked = io.BufferedReader(unpack(source))
                    first = unpacked.peek(1)[:2]
                    if not first:
                        return None
                except BROKEN:
                    return None
                stream = Stream(unpacked, scan)
                known = scan_pickles(stream, scan)
            if known or first[:1] == b"\x80":
                return f"joblib ({name}-compressed pickle{_END_MISSING if stream.cut_off else ''})", True
            return f"unknown ({name}-compressed)", True
    return None


def _pickled(head: bytes, opened: _Opener, scan: PickleScan) -> tuple[str, bool] | None:
    """A pickle, of joblib or another, by the opcodes it starts with."""
    if refused_by_pickle(head):
        return None
    own = PickleScan(bytes_left=scan.bytes_left, instructions_left=scan.instructions_left)
    with opened() as source:
        stream = Stream(source, own)
        known = scan_pickles(stream, own)
    scan.bytes_left, scan.instructions_left = own.bytes_left, own.instructions_left
    if not known and head[:1] != b"\x80" and not any(re.fullmatch(r"[\w.]+", name) for name in own.imports):
        return None
    scan.imports |= own.imports
    scan.features = own.features
    scan.whole &= own.whole
    missing = _END_MISSING if stream.cut_off else ""
    if any("numpy_pickle." in name for name in own.imports):
        return f"joblib (pickle{missing})", True
    return f"pickle{missing}", True


def _zip_content(opened: _Opener, scan: PickleScan) -> tuple[str, bool]:
    """A zip: of skops, Keras or PyTorch, or an archive of files that are looked at one by one."""
    try:
        with opened() as source, zipfile.ZipFile(source) as archive:
            members = {member.filename: member for member in archive.infolist() if not member.is_dir()}
            arrays = (Path(name).suffix in (".npy", ".npz", ".bin") for name in members if name != "schema.json")
            if "schema.json" in members and all(arrays) and b'"__loader__"' in archive.open("schema.json").read(4096):
                return "skops", False
            if {"config.json", "metadata.json", "model.weights.h5"} <= members.keys():
                scan.whole = False
                return "Keras zip", True
            torch = any(name.endswith("/data.pkl") for name in members)
            looked_at = [name for name in members if not torch or name.endswith(".pkl")][:_MAX_FILES]
            opened_members = [(cast(_Opener, partial(archive.open, members[name])), members[name].file_size) for name in looked_at]
            contents = [_content(opener, size, scan, nested=True) for opener, size in opened_members]
            if torch:
                return "PyTorch zip (pickle inside)", True
            together = _together("zip archive", contents, len(members), scan)
            return together.kind, together.needs_approval or not members
    except BROKEN:
        scan.whole = False
        return "zip archive (damaged or encrypted)", True


def _elsewhere_a_program(opened: _Opener, size: int) -> tuple[str, bool] | None:
    """What loaders find elsewhere than at a file's beginning: HDF5 at 0, 512, 1024, 2048... bytes, the contents of a zip at the end."""
    with opened() as source:
        for start in (0, *(1 << power for power in range(9, size.bit_length()))):
            source.seek(start)
            if source.read(8) == b"\x89HDF\r\n\x1a\n":
                return "HDF5 / Keras", True
        return ("unknown (with a zip at its end)", True) if zipfile.is_zipfile(source) else None


# ---- formats without a program ---------------------------------------------------------------------------------------------------


def _without_code(head: bytes, opened: _Opener, size: int, scan: PickleScan) -> tuple[str, bool] | None:
    """Formats that hold numbers only; `head` is one that joblib and pickle refuse, so that no loader takes it for a program."""
    if re.match(rb'\s*\{\s*"learner"\s*:', head):
        return "XGBoost JSON", False
    if re.match(rb"\{[iUIlL]\x00*\x07learner", head):
        return "XGBoost UBJSON", False
    if re.match(rb"tree\r?\nversion=v\d", head):
        return "LightGBM text", False
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return "Git LFS pointer", False
    if page := _PAGE.match(head):
        return ("error message in XML" if page["error"] else "HTML page"), False
    if head.startswith(b"binf"):
        return "XGBoost binary", True
    if head.startswith(b"CBM1"):
        return "CatBoost", True
    if head.startswith(b"\x93NUMPY"):
        start = 10 if head[6:7] == b"\x01" else 12
        if _PLAIN_NUMPY_HEADER.fullmatch(head, start, start + int.from_bytes(head[8:start], "little")):
            return "NumPy array", False
        return "NumPy array (of Python objects, or of records)", True
    if head[8:10] in (b'{"', b"{}") and int.from_bytes(head[:8], "little") <= min(size - 8, 100_000_000) and b'"data_offsets"' in head:
        return "safetensors", False
    if head[:1] == b"\x08":
        with opened() as source:
            try:
                if _is_onnx(Stream(source, scan)):
                    return "ONNX", False
            except BROKEN:
                return None
    return None


def _is_onnx(stream: Stream) -> bool:
    """Whether these are the fields of an ONNX `ModelProto` (onnx.proto3), a graph and operator sets among them, up to the end."""

    def number() -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = stream.read(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("no protobuf number")

    fields: set[int] = set()
    for _ in range(_MAX_FILES):
        if not stream.peek():
            return {7, 8} <= fields
        tag = number()
        if tag in (1 << 3, 5 << 3):
            number()
        elif tag & 7 == 2 and tag >> 3 in (2, 3, 4, 6, 7, 8, 14, 20, 25, 26):
            stream.skip(number())
        else:
            return False
        fields.add(tag >> 3)
    return False
