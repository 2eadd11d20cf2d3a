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
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from services.errors import IntakeError, os_errors_as
from services.file_names import short
from services.formats import counted
from services.intake.mlflow_files import MLMODEL, read_mlmodel
from services.intake.pickle_scan import BROKEN, PickleScan, Stream, refused_by_pickle, scan_pickles
from services.intake.skops_types import untrusted_types
from services.storage.file_tree import files_of

_MAX_FILES = 10_000
_MODEL_NAMES = re.compile(r"\.(pkl|pickle|joblib|onnx|pt|pth|h5|hdf5|keras|skops|safetensors|ubj|cbm|npz|bin|zip)$", re.IGNORECASE)
_Opener = Callable[[], BinaryIO]
_END_MISSING = ", the end is missing"
_PICKLED = "scikit-learn"  # ModelCard's word for what joblib or pickle loads
_SEARCHED = 64 << 20  # bytes
_OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch.serialization.MAGIC_NUMBER, pickled
_OF_WEIGHTS = re.compile(
    r"(collections|numpy|builtins|__builtin__|_codecs|argparse|pathlib|torch\._utils|torch\.storage|torch\.serialization|torch\._tensor)"
    r"(\.\w+)+|torch\.\w+"
)
_OF_NO_LOADER = (".onnx", ".npy", ".ubj", ".txt", ".safetensors")
"""Endings of members by which no loader takes an archive for its own, as by schema.json, MLmodel, config.json or code/: whatever such a
member begins with, the archive is a program."""
_EXPORTED = re.compile(r"([^/]+/)?(serialized_exported_program\.json|models/[^/]+\.json)")
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
    """What a model is: `kind` for people, `format` as ModelCard's ("" of a folder of several), whether a run may use it only once approved,
    and what unpickling it would import, or of skops which types it would make that skops does not trust.

    `imports` are sorted `module.name`s; where not `scanned_whole` there may be more. `features` is how many columns an estimator of
    scikit-learn was fitted to; None where the file doesn't tell, as for a pipeline. `file` is the model among the files of a folder, ""
    of a file, of MLflow, and where no single one is. `versions` say what it was made with, by package; `root` is the class of a pickle's
    object. `fault` says why nobody can load it, in part of a sentence, `advice` what would work; both are "" else.
    """

    kind: str
    needs_approval: bool
    imports: tuple[str, ...] = ()
    scanned_whole: bool = True
    features: int | None = None
    format: str = "unknown"
    file: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    root: str = ""
    fault: str = ""
    advice: str = ""


@dataclass(frozen=True)
class _Found:
    """One file's content; `fault` and `advice` as ModelContent's."""

    kind: str
    needs_approval: bool
    format: str = "unknown"
    fault: str = ""
    advice: str = ""


_AGAIN = "Copy or download it again, and compare its size with the original’s."
_LFS = "Run git lfs pull in its repository; choose it again."
_NO_MODEL = {
    "Git LFS pointer": ("a Git LFS pointer: its content was not downloaded", _LFS),
    "error message in XML": (
        "an error message in XML, such as a store sends in place of a file",
        "Download the model again, and check how it begins.",
    ),
    "HTML page": ("an HTML page, such as a sign-in or error page saved in its place", "Download the model again, and check how it begins."),
}
"""What is registered by mistake in place of a model, and what to do."""
_CHECKPOINT = "a checkpoint: weights without the architecture they belong to"
_SAVE_WHOLE = (
    "Save the whole model: by torch.jit.script(model).save(PATH), or by torch.export.save(torch.export.export(model, inputs), PATH). For a"
    " scoring script of your own, which builds the architecture, register the folder that holds it and its code."
)
_SAVE_WHOLE_KERAS = (
    "Save the whole model by model.save(PATH.keras). For a scoring script of your own, which builds the architecture, register the folder"
    " that holds it and its code."
)


def inspect_for_registration(path: Path) -> ModelContent:
    """As `inspect_model`; raises IntakeError too for what nobody can load: half a file, weights without their architecture. Of skops
    the types that it does not trust become the `imports`, which a person has to approve."""
    content = inspect_model(path)
    if content.fault:
        raise IntakeError(f"“{short(path.name)}” is {content.fault}.", content.advice)
    if content.format != "skops":
        return content
    types = untrusted_types(path / content.file if content.file else path)
    needs_approval = content.needs_approval or types is None or bool(types)
    return replace(content, needs_approval=needs_approval, imports=types or (), scanned_whole=types is not None)


def inspect_model(path: Path) -> ModelContent:
    """What the file or folder at `path` is. Reads it, never loads it; bounded in memory and time whatever it holds. Raises NotFound where
    there is nothing, IntakeError where it is empty, can't be read, is no file or folder, or certainly no model."""
    files = files_of(path)
    if not any(size for _, _, size in files):
        what = "is empty" if path.is_file() else "holds only empty files"
        raise IntakeError(f"The model “{path.name}” {what}.", "Choose the file that your training script saved.")
    scan = PickleScan()
    with os_errors_as(IntakeError, f"The model “{path.name}” can't be read"):
        found = [_content(cast(_Opener, partial(open, name, "rb")), size, scan) for _, name, size in files[:_MAX_FILES]]
    if path.is_dir():
        return _folder(path, [relative for relative, _, _ in files], found, scan)
    (one,) = found
    if one.kind in _NO_MODEL:
        what, hint = _NO_MODEL[one.kind]
        raise IntakeError(f"“{short(path.name)}” is not a model but {what}.", hint)
    return _model_content(one, scan, features=scan.features if scan.whole else None)


def joblib_loads(format_: str) -> bool | None:
    """Whether `joblib.load` takes a model of this format; None where that isn't known, as of a folder of several models."""
    return format_ == _PICKLED if format_ else None


def _model_content(found: _Found, scan: PickleScan, **more: Any) -> ModelContent:
    return ModelContent(
        found.kind, found.needs_approval, tuple(sorted(scan.imports)), scan.whole, format=found.format, versions=dict(scan.versions),
        root=scan.root, fault=found.fault, advice=found.advice, **more,
    )  # fmt: skip


def _folder(path: Path, names: list[str], found: list[_Found], scan: PickleScan) -> ModelContent:
    """A folder is what the only model in it is, or what its file MLmodel says."""
    together = _together("folder", found, len(names), scan)
    if any(Path(name).name == MLMODEL for name in names):  # loaders find one below too, whatever it begins with
        together = replace(together, needs_approval=True)
    pointers = [name for name, one in zip(names, found, strict=False) if one.kind == "Git LFS pointer"]
    models = [(name, one) for name, one in zip(names, found, strict=False) if one.format != "unknown"]
    fault, advice = "", ""
    if pointers and (not models or MLMODEL in names):
        fault, advice = f"a folder whose file “{short(pointers[0])}” is a Git LFS pointer: its content was not downloaded", _LFS
    if MLMODEL in names:
        flavors = ", ".join(str(name) for name in read_mlmodel(path)["flavors"])
        half = next((f"a folder whose file “{short(name)}” is {one.fault}" for name, one in models if one.fault.startswith("half")), "")
        whole = replace(together, kind=f"MLflow: {short(flavors)}", needs_approval=True, format="mlflow")
        return _model_content(replace(whole, fault=fault or half, advice=advice or (half and _AGAIN)), scan)
    if len(models) != 1:
        unasked = any(one.format == "skops" for _, one in models)  # which types it would make is asked of a single one
        together = replace(together, needs_approval=together.needs_approval or unasked)
        format_ = "" if models else together.format
        return _model_content(replace(together, format=format_, fault=fault, advice=advice), scan)
    ((name, one),) = models
    if one.fault.startswith("half"):
        fault, advice = f"a folder whose file “{short(name)}” is {one.fault}", one.advice
    features = scan.features if scan.whole else None
    return _model_content(replace(together, format=one.format, fault=fault, advice=advice), scan, file=name, features=features)


def _together(noun: str, contents: list[_Found], count: int, scan: PickleScan) -> _Found:
    """Several files as one: those that need approval are named first."""
    kinds = list(dict.fromkeys(one.kind for one in sorted(contents, key=lambda one: not one.needs_approval)))
    named = ", ".join(kinds[:3]) + (", …" if len(kinds) > 3 else "")
    needs_approval = any(one.needs_approval for one in contents) or count > len(contents)
    scan.whole &= count == len(contents)
    return _Found(f"{noun}: {named}, {counted(count, 'file')}", needs_approval)


def _half(what: str) -> str:
    return f"half of {what}: its end is missing"


def _content(opened: _Opener, size: int, scan: PickleScan, *, nested: bool = False) -> _Found:
    """What one file is, or one member of an archive (`nested`). Raises OSError where it can't be read."""
    if size == 0:
        return _Found("empty file", False)
    with opened() as source:
        head = source.read(65536)
    if head.startswith(b"PK\x03\x04") and not nested:
        return _zip_content(opened, size, scan)
    if pickled := _compressed(head, opened, scan) or _pickled(head, opened, scan):
        return pickled
    found = (None if nested else _elsewhere_a_program(opened, size)) or _without_code(head, opened, size, scan) or _Found("unknown", True)
    scan.whole &= not found.needs_approval  # a program that is no pickle may import what can't be listed
    return found


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


def _compressed(head: bytes, opened: _Opener, scan: PickleScan) -> _Found | None:
    """A pickle that joblib compressed, or something else that is compressed."""
    if head.startswith((b"\x04\x22\x4d\x18", b"ZF")):
        scan.whole = False
        return _Found("joblib (lz4-compressed pickle)" if head[0] == 4 else "joblib (compressed pickle of joblib < 0.10)", True, _PICKLED)
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
                kind = f"joblib ({name}-compressed pickle{_END_MISSING if stream.cut_off else ''})"
                return _Found(kind, True, _PICKLED, *((_half("a compressed pickle"), _AGAIN) if stream.cut_off else ()))
            return _Found(f"unknown ({name}-compressed)", True)
    return None


def _pickled(head: bytes, opened: _Opener, scan: PickleScan) -> _Found | None:
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
    scan.root = own.root
    scan.versions |= own.versions
    if head.startswith(_OLD_TORCH):
        return _torch_pickle("PyTorch (pickle inside)", own.imports)
    missing = _END_MISSING if stream.cut_off else ""
    kind = f"joblib (pickle{missing})" if any("numpy_pickle." in name for name in own.imports) else f"pickle{missing}"
    half = stream.cut_off and head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5"
    return _Found(kind, True, _PICKLED, *((_half("a pickle"), _AGAIN) if half else ()))


def _torch_pickle(kind: str, imports: Collection[str]) -> _Found:
    """Of a pickle of PyTorch: weights alone where nothing in it has code that they could be of."""
    weights = bool(imports) and all(map(_OF_WEIGHTS.fullmatch, imports))
    return _Found(kind, True, "torch", *((_CHECKPOINT, _SAVE_WHOLE) if weights else ()))


def _zip_content(opened: _Opener, size: int, scan: PickleScan) -> _Found:
    """A zip: of skops, Keras or PyTorch, or an archive of files that are looked at one by one."""
    try:
        with opened() as source, zipfile.ZipFile(source) as archive:
            members = {member.filename: member for member in archive.infolist() if not member.is_dir()}
            arrays = (Path(name).suffix in (".npy", ".npz", ".bin") for name in members if name != "schema.json")
            if "schema.json" in members and all(arrays) and b'"__loader__"' in archive.open("schema.json").read(4096):
                return _Found("skops", False, "skops")
            if {"config.json", "metadata.json"} <= members.keys() and any(name.startswith("model.weights") for name in members):
                scan.whole = False
                return _Found("Keras zip", True, "keras")
            pickled = next((name for name in members if name.endswith("/data.pkl")), "")
            looked_at = [name for name in members if not pickled or name.endswith(".pkl")][:_MAX_FILES]
            opened_members = [(cast(_Opener, partial(archive.open, members[name])), members[name].file_size) for name in looked_at]
            contents = [_content(opener, length, scan, nested=True) for opener, length in opened_members]
            if any(_EXPORTED.fullmatch(name) for name in members):
                scan.whole = False
                return _Found("PyTorch export", True, "torch-export")
            if pickled:
                inside = pickled.removesuffix("data.pkl")
                if f"{inside}constants.pkl" in members or any(name.startswith(f"{inside}code/") for name in members):
                    return _Found("TorchScript", True, "torchscript")
                return _torch_pickle("PyTorch zip (pickle inside)", scan.imports)
            together = _together("zip archive", contents, len(members), scan)
            plain = bool(members) and all(name.endswith(_OF_NO_LOADER) for name in members)
            return replace(together, needs_approval=together.needs_approval or not plain)
    except BROKEN:
        scan.whole = False
        with opened() as source:
            source.seek(max(0, size - 65_557))
            is_half = b"PK\x05\x06" not in source.read()
        return _Found("zip archive (damaged or encrypted)", True, "unknown", *((_half("a zip archive"), _AGAIN) if is_half else ()))


def _elsewhere_a_program(opened: _Opener, size: int) -> _Found | None:
    """What loaders find elsewhere than at a file's beginning: HDF5 at 0, 512, 1024, 2048... bytes, the contents of a zip at the end."""
    with opened() as source:
        for start in (0, *(1 << power for power in range(9, size.bit_length()))):
            source.seek(start)
            if source.read(8) == b"\x89HDF\r\n\x1a\n":
                return _hdf5(opened, size) if start == 0 else _Found("HDF5 / Keras", True)
        return _Found("unknown (with a zip at its end)", True) if zipfile.is_zipfile(source) else None


def _hdf5(opened: _Opener, size: int) -> _Found:
    """By the superblock (HDF5 File Format Specification 3.0, II.A) and the names of the attributes that Keras writes."""
    with opened() as source:
        head = source.read(48)
        end = int.from_bytes(head[28:36] if head[8:9] >= b"\x02" else head[40:48], "little")
        source.seek(0)
        content = source.read(_SEARCHED)
    if b"\x08" in (head[13:14], head[9:10]) and size < end < 1 << 60:  # offsets of eight bytes, as everybody writes
        return _Found("HDF5 / Keras", True, "unknown", _half("an HDF5 file"), _AGAIN)
    if b"model_config" in content:
        return _Found("HDF5 / Keras", True, "keras")
    marks = (b"layer_names", b"weight_names", b"layers"), (b"weight_names", b"vars")  # of Keras 2, of Keras 3
    of_weights = size <= _SEARCHED and all(any(mark in content for mark in several) for several in marks)
    return _Found("HDF5 / Keras", True, "unknown", *((_CHECKPOINT, _SAVE_WHOLE_KERAS) if of_weights else ()))


# ---- formats without a program ---------------------------------------------------------------------------------------------------


def _without_code(head: bytes, opened: _Opener, size: int, scan: PickleScan) -> _Found | None:
    """Formats that hold numbers only; `head` is one that joblib and pickle refuse, so that no loader takes it for a program."""
    if json_ := re.match(rb'\s*\{\s*"learner"\s*:', head):
        return _Found("XGBoost JSON", False, "xgboost", *_unless_it_ends(opened, size, json_.group()))
    if ubjson := re.match(rb"\{[iUIlL]\x00*\x07learner", head):
        return _Found("XGBoost UBJSON", False, "xgboost", *_unless_it_ends(opened, size, ubjson.group()))
    if re.match(rb"tree\r?\nversion=v\d", head):
        return _Found("LightGBM text", False, "lightgbm", *_unless_lightgbm_ends(opened, size))
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return _Found("Git LFS pointer", False)
    if page := _PAGE.match(head):
        return _Found("error message in XML" if page["error"] else "HTML page", False)
    if head.startswith(b"binf"):
        return _Found("XGBoost binary", True)
    if head.startswith(b"CBM1"):
        is_half = 8 + int.from_bytes(head[4:8], "little") > size
        return _Found("CatBoost", True, "catboost", *((_half("a CatBoost model"), _AGAIN) if is_half else ()))
    if head.startswith(b"\x93NUMPY"):
        start = 10 if head[6:7] == b"\x01" else 12
        if _PLAIN_NUMPY_HEADER.fullmatch(head, start, start + int.from_bytes(head[8:start], "little")):
            return _Found("NumPy array", False)
        return _Found("NumPy array (of Python objects, or of records)", True)
    header = int.from_bytes(head[:8], "little")
    if head[8:10] in (b'{"', b"{}") and header <= min(size - 8, 100_000_000) and b'"data_offsets"' in head:
        return _Found("safetensors", False, "torch", _CHECKPOINT, _SAVE_WHOLE)
    if head[:1] == b"\x08":
        with opened() as source:
            try:
                return _onnx(Stream(source, scan), size)
            except BROKEN:
                return None
    return None


def _unless_it_ends(opened: _Opener, size: int, begin: bytes) -> tuple[str, str] | tuple[()]:
    """The fault of an object of JSON or UBJSON that does not end by a bracket."""
    with opened() as source:
        source.seek(max(len(begin), size - 64))
        return () if source.read().rstrip().endswith(b"}") else (_half("an XGBoost model"), _AGAIN)


def _unless_lightgbm_ends(opened: _Opener, size: int) -> tuple[str, str] | tuple[()]:
    with opened() as source:
        source.seek(max(0, size - _SEARCHED))
        return () if b"end of trees" in source.read() else (_half("a LightGBM model"), _AGAIN)


def _onnx(stream: Stream, size: int) -> _Found | None:
    """ONNX where these are the fields of a `ModelProto` (onnx.proto3), a graph and operator sets among them, up to the end."""
    position = 0

    def number() -> int:
        nonlocal position
        value = 0
        for shift in range(0, 70, 7):
            byte = stream.read(1)[0]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("no protobuf number")

    fields: set[int] = set()
    for _ in range(_MAX_FILES):
        if position >= size:
            return _Found("ONNX", False, "onnx") if {7, 8} <= fields else None
        tag = number()
        if tag in (1 << 3, 5 << 3):
            number()
        elif tag & 7 == 2 and tag >> 3 in (2, 3, 4, 6, 7, 8, 14, 20, 25, 26):
            length = number()
            position += length
            if position > size:
                is_graph = tag >> 3 == 7 and 1 in fields and stream.read(1) in b"\x0a\x12\x2a\x5a"  # nodes, a name, initializers, inputs
                return _Found("unknown", True, "onnx", _half("an ONNX model"), _AGAIN) if is_graph else None
            stream.skip(length)
        else:
            return None
        fields.add(tag >> 3)
    return None
