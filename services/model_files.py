"""What a model's files are, told by their content, and what they would import if someone loaded them. Nothing here is ever loaded.

A list of imports is information, no verdict: scanners were seen to call hostile models clean. What protects is consent, by SHA-256, and
a process of its own. So a model needs approval unless every file of it is of a format that holds no program and that pickle would refuse.
"""

from __future__ import annotations

import bz2
import io
import lzma
import math
import os
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from services.domain import counted
from services.errors import IntakeError
from services.intake import files_of

_MAX_BYTES = 256 * 2**20  # read or unpacked per model; beyond it the list of imports is incomplete
_MAX_INSTRUCTIONS = 1_000_000
_MAX_FILES = 10_000
_MAX_IMPORTS = 1_000
_MAX_NAME = 200

_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_LENGTH_BYTES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT4: 4, pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}  # fmt: skip
_BROKEN = (
    ValueError, LookupError, OverflowError, MemoryError, EOFError, OSError, RuntimeError, struct.error, zlib.error, lzma.LZMAError,
    zipfile.BadZipFile,
)  # fmt: skip
"""What reading broken or hostile content raises."""

_DTYPE = re.compile(r"[<>|=]?([?a-zA-Z])(\d*)")
_PLAIN_NUMPY_HEADER = re.compile(
    rb"\{'descr': '[<>|=]?[?biufcSUVmM]\d*(\[\d*\w+\])?', 'fortran_order': (True|False), 'shape': \([\d, ]*\), *\} *\n"
)


@dataclass(frozen=True)
class ModelContent:
    """What a model is: `kind` for people, whether a run may use it only once approved, and what unpickling it would import.

    `imports` are sorted `module.name`s; where not `scanned_whole` there may be more.
    """

    kind: str
    needs_approval: bool
    imports: tuple[str, ...] = ()
    scanned_whole: bool = True


@dataclass
class _Scan:
    """What was found so far in one model, and how much more may be read."""

    imports: set[str] = field(default_factory=set)
    whole: bool = True
    bytes_left: int = _MAX_BYTES
    instructions_left: int = _MAX_INSTRUCTIONS

    def spend(self, count: int) -> None:
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise ValueError("too large to be scanned whole")

    def count(self) -> None:
        self.instructions_left -= 1
        if self.instructions_left < 0:
            raise ValueError("too many instructions to be scanned whole")

    def add(self, module: object, name: object) -> _Made | None:
        if not (isinstance(module, str) and isinstance(name, str)):
            self.whole = False  # a name that is only known when the program runs
            return None
        if len(self.imports) >= _MAX_IMPORTS:
            raise ValueError("too many imports")
        self.imports.add(f"{module}.{name}")
        return _Made(f"{module}.{name}")


def inspect_model(path: Path) -> ModelContent:
    """What the file or folder at `path` is. Reads it, never loads it; bounded in memory and time whatever it holds.

    Raises NotFound where there is nothing, IntakeError where it is empty, can't be read, or is no file or folder.
    """
    files = files_of(path)
    if not any(size for _, _, size in files):
        what = "is empty" if path.is_file() else "holds only empty files"
        raise IntakeError(f"The model “{path.name}” {what}.", "Choose the file that your training script saved.")
    scan = _Scan()
    contents = []
    try:
        for _, name, size in files[:_MAX_FILES]:
            contents.append(_content(cast("Callable[[], BinaryIO]", partial(open, name, "rb")), size, scan))
    except OSError as error:
        raise IntakeError(f"The model “{path.name}” can't be read: {error.strerror or error}.") from error
    if path.is_dir():
        return _together("folder", contents, len(files), scan)
    kind, needs_approval = contents[0]
    return ModelContent(kind, needs_approval, tuple(sorted(scan.imports)), scan.whole)


def _together(noun: str, contents: list[tuple[str, bool]], count: int, scan: _Scan) -> ModelContent:
    """Several files as one: those that need approval are named first."""
    kinds = list(dict.fromkeys(kind for kind, _ in sorted(contents, key=lambda content: not content[1])))
    named = ", ".join(kinds[:3]) + (", …" if len(kinds) > 3 else "")
    needs_approval = any(needs for _, needs in contents) or count > len(contents)
    scan.whole &= count == len(contents)
    return ModelContent(f"{noun}: {named}, {counted(count, 'file')}", needs_approval, tuple(sorted(scan.imports)), scan.whole)


def _content(opened: Callable[[], BinaryIO], size: int, scan: _Scan, *, nested: bool = False) -> tuple[str, bool]:
    """Kind and `needs_approval` of one file, or of one member of an archive (`nested`). Raises OSError where it can't be read."""
    if size == 0:
        return "empty file", False
    with opened() as source:
        head = source.read(4096)
    if head.startswith(b"PK\x03\x04"):
        return ("zip archive", True) if nested else _zip_content(opened, scan)
    return _compressed(head, opened, scan) or _pickled(head, opened, scan) or _without_code(head, opened, size, scan) or _other(head)


# ---- formats that are programs ---------------------------------------------------------------------------------------------------


class _Zlib(io.RawIOBase):
    """Unpacks zlib and gzip as joblib does: no more at a time than is asked for, and one stream after another."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._inflate = zlib.decompressobj(47)
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            packed = self._left or self._source.read(65536)
            if not packed:
                if self._inflate.eof:
                    return 0
                raise EOFError("cut off")
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(47)
            unpacked = self._inflate.decompress(packed, len(buffer))
            self._left = self._inflate.unconsumed_tail or self._inflate.unused_data
            if unpacked:
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


def _compressed(head: bytes, opened: Callable[[], BinaryIO], scan: _Scan) -> tuple[str, bool] | None:
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
                except _BROKEN:
                    return None
                stream = _Stream(unpacked, scan)
                known = _scan_pickles(stream, scan)
            if known or first[:1] == b"\x80":
                return f"joblib ({name}-compressed pickle)", True
            return f"unknown ({name}-compressed)", True
    return None


def _pickled(head: bytes, opened: Callable[[], BinaryIO], scan: _Scan) -> tuple[str, bool] | None:
    """A pickle, of joblib or another, by the opcodes it starts with."""
    if _refused_by_pickle(head):
        return None
    own = _Scan(bytes_left=scan.bytes_left, instructions_left=scan.instructions_left)
    with opened() as source:
        known = _scan_pickles(_Stream(source, own), own)
    scan.bytes_left, scan.instructions_left = own.bytes_left, own.instructions_left
    if not known and head[:1] != b"\x80" and not any(re.fullmatch(r"[\w.]+", name) for name in own.imports):
        return None
    scan.imports |= own.imports
    scan.whole &= own.whole
    return ("joblib (pickle)" if any("numpy_pickle." in name for name in own.imports) else "pickle"), True


def _zip_content(opened: Callable[[], BinaryIO], scan: _Scan) -> tuple[str, bool]:
    """A zip: of skops, Keras or PyTorch, or an archive of files that are looked at one by one."""
    try:
        with opened() as source, zipfile.ZipFile(source) as archive:
            members = {member.filename: member for member in archive.infolist() if not member.is_dir()}
            if "schema.json" in members and b'"__loader__"' in archive.open("schema.json").read(4096):
                return "skops", False
            if {"config.json", "metadata.json", "model.weights.h5"} <= members.keys():
                return "Keras zip", True
            torch = any(name.endswith("/data.pkl") for name in members)
            looked_at = [name for name in members if not torch or name.endswith(".pkl")][:_MAX_FILES]
            contents = []
            for name in looked_at:
                opener = cast("Callable[[], BinaryIO]", partial(archive.open, members[name]))
                contents.append(_content(opener, members[name].file_size, scan, nested=True))
            if torch:
                return "PyTorch zip (pickle inside)", True
            together = _together("zip archive", contents, len(members), scan)
            return together.kind, together.needs_approval or not members
    except _BROKEN:
        scan.whole = False
        return "zip archive (damaged or encrypted)", True


# ---- formats without a program ---------------------------------------------------------------------------------------------------


def _without_code(head: bytes, opened: Callable[[], BinaryIO], size: int, scan: _Scan) -> tuple[str, bool] | None:
    """Formats that hold numbers only; `head` is one that joblib and pickle refuse, so that no loader takes it for a program."""
    if re.match(rb'\s*\{\s*"learner"\s*:', head):
        return "XGBoost JSON", False
    if re.match(rb"\{[iUIlL]\x00*\x07learner", head):
        return "XGBoost UBJSON", False
    if re.match(rb"tree\r?\nversion=v\d", head):
        return "LightGBM text", False
    if head.startswith(b"\x93NUMPY"):
        start = 10 if head[6:7] == b"\x01" else 12
        if _PLAIN_NUMPY_HEADER.fullmatch(head, start, start + int.from_bytes(head[8:start], "little")):
            return "NumPy array", False
        scan.whole = False
        return "NumPy array (of Python objects, or of records)", True
    if head[8:10] in (b'{"', b"{}") and int.from_bytes(head[:8], "little") <= min(size - 8, 100_000_000) and b'"data_offsets"' in head:
        return "safetensors", False
    if head[:1] == b"\x08":
        with opened() as source:
            try:
                if _is_onnx(_Stream(source, scan)):
                    return "ONNX", False
            except _BROKEN:
                return None
    return None


def _is_onnx(stream: _Stream) -> bool:
    """Whether these are the fields of an ONNX `ModelProto` (onnx.proto3), a graph and operator sets among them, up to the end."""

    def number() -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = stream.read(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("no protobuf number")

    fields = set()
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


def _other(head: bytes) -> tuple[str, bool]:
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "HDF5 / Keras", True
    return "unknown", True


# ---- reading pickles without executing them --------------------------------------------------------------------------------------


class _Stream:
    """Reads forward, within the scan's budget; raises EOFError where the content ends."""

    def __init__(self, source: Any, scan: _Scan) -> None:
        self._source, self._scan = source, scan
        self._plain = isinstance(getattr(source, "raw", None), io.FileIO)

    def read(self, count: int) -> bytes:
        self._scan.spend(count)
        chunk: bytes = self._source.read(count)
        if len(chunk) < count:
            raise EOFError
        return chunk

    def readline(self) -> bytes:
        line: bytes = self._source.readline(65536)
        self._scan.spend(len(line))
        if not line.endswith(b"\n"):
            raise EOFError
        return line

    def skip(self, count: int) -> None:
        if self._plain:
            self._source.seek(count, os.SEEK_CUR)
        else:
            for _ in range(count >> 20):
                self.read(1 << 20)
            self.read(count & 0xFFFFF)

    def peek(self) -> bytes:
        """The next byte, or nothing at the end."""
        following: bytes = self._source.peek(1)
        return following[:1]


@dataclass(slots=True)
class _Made:
    """What a global, called or not, stands for on the unpickler's stack."""

    name: str
    arguments: Any = None
    state: Any = None


_MARK = _Made("(mark)")


def _scan_pickles(stream: _Stream, scan: _Scan) -> bool:
    """Note the imports of one pickle after another; whether the first was read to its end. What stops it, makes the scan incomplete."""
    ended = False
    try:
        while True:
            _scan_pickle(stream, scan, joblib=True)
            ended = True
            if stream.peek() != b"\x80":
                scan.whole &= not stream.peek()
                return True
    except _BROKEN:
        scan.whole = False
        return ended


def _refused_by_pickle(head: bytes) -> bool:
    """Whether pickle gives up on these first bytes before it imports anything."""
    scan = _Scan()
    try:
        _scan_pickle(_Stream(io.BufferedReader(io.BytesIO(head[:8])), scan), scan, joblib=False)  # type: ignore[arg-type]
    except EOFError:
        return False
    except _BROKEN:
        return not scan.imports
    return False


def _scan_pickle(stream: _Stream, scan: _Scan, *, joblib: bool) -> None:
    """Follow one pickle up to its STOP as an unpickler would, with names in place of what they name.

    The stack is followed so that the two names of a STACK_GLOBAL are found wherever they come from, and so that the bytes of the arrays
    that `joblib` writes between two instructions can be stepped over. Raises one of `_BROKEN` where it can't go on.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def from_mark() -> list[Any]:
        start = len(stack) - 1
        while stack[start] is not _MARK:  # IndexError where there is none
            start -= 1
            if start < 0:
                raise IndexError
        values = stack[start + 1 :]
        del stack[start:]
        return values

    while True:
        opcode = _OPCODES[stream.read(1)]
        scan.count()
        argument = _argument(opcode, stream)
        match opcode.name:
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(memo[argument])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                values = [stack.pop() for _ in opcode.stack_before]
                stack.append(tuple(reversed(values)))
            case "TUPLE":
                stack.append(tuple(from_mark()))
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_DICT":
                stack.append({})
            case "DUP":
                stack.append(stack[-1])
            case "MARK":
                stack.append(_MARK)
            case "SETITEM" | "SETITEMS":
                values = from_mark() if opcode.name == "SETITEMS" else [stack.pop(), stack.pop()][::-1]
                if isinstance(stack[-1], dict):
                    stack[-1].update((k, v) for k, v in zip(values[::2], values[1::2], strict=False) if isinstance(k, str))
            case "GLOBAL" | "INST":
                if opcode.name == "INST":
                    from_mark()
                stack.append(scan.add(*argument))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(scan.add(module, name))
            case "EXT1" | "EXT2" | "EXT4":
                stack.append(scan.add(None, None))
            case "REDUCE" | "NEWOBJ":
                arguments, made = stack.pop(), stack.pop()
                stack.append(_Made(made.name, arguments) if isinstance(made, _Made) else None)
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], _Made):
                    stack[-1].state = state
                    if joblib and stack[-1].name.endswith("numpy_pickle.NumpyArrayWrapper"):
                        _skip_array(state, stream, scan)
            case "PERSID":
                raise ValueError("refused by every unpickler but its author's")
            case "PROTO" if argument > 5:
                raise ValueError("no pickle protocol")
            case "STOP":
                stack.pop()
                return
            case _:
                names = [item.name for item in opcode.stack_before]
                if "mark" in names:
                    from_mark()
                    names = names[: names.index("mark")]
                for _ in names:
                    stack.pop()
                stack.extend([argument] * len(opcode.stack_after))


def _argument(opcode: pickletools.OpcodeInfo, stream: _Stream) -> Any:
    """An instruction's argument; None in place of a long one, which is only stepped over."""
    if opcode.arg is None:
        return None
    if opcode.name in ("GLOBAL", "INST"):
        return [stream.readline()[:-1].decode("utf-8", "replace") for _ in range(2)]
    if opcode.arg.n not in _LENGTH_BYTES:
        return opcode.arg.reader(stream)  # type: ignore[arg-type]
    length = int.from_bytes(stream.read(_LENGTH_BYTES[opcode.arg.n]), "little")
    if length > _MAX_NAME:
        stream.skip(length)
        return None
    content = stream.read(length)
    if opcode.name.startswith("LONG"):
        return int.from_bytes(content, "little", signed=True)
    return content.decode("utf-8", "surrogatepass") if "UNICODE" in opcode.name else content.decode("latin-1")


def _skip_array(wrapper: Any, stream: _Stream, scan: _Scan) -> None:
    """Step over an array's bytes, which joblib writes right after its `NumpyArrayWrapper`; an array of objects is a pickle again."""
    try:
        dtype = wrapper["dtype"]
        code, digits = _DTYPE.fullmatch(dtype.arguments[0]).groups()  # type: ignore[union-attr]
        size = dtype.state[5] if dtype.state and dtype.state[5] > 0 else int(digits or 1)
        size *= math.prod(wrapper["shape"][:64])
        aligned = wrapper.get("numpy_array_alignment_bytes") is not None
    except (TypeError, AttributeError) as error:
        raise ValueError("joblib wrote no such array") from error
    if code == "O":
        _scan_pickle(stream, scan, joblib=False)
        return
    if size < 0:
        raise ValueError("an array of less than nothing")
    if aligned:
        stream.skip(stream.read(1)[0])
    stream.skip(size)
