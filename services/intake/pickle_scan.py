"""What a pickle would import, read from its instructions without executing one; through the arrays that joblib writes between them."""

from __future__ import annotations

import io
import lzma
import math
import os
import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import Any

_MAX_BYTES = 256 * 2**20  # read or unpacked for one model; beyond it the list of imports is incomplete
_MAX_INSTRUCTIONS = 1_000_000
_MAX_IMPORTS = 1_000
_MAX_NAME = 200

_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_LENGTH_BYTES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT4: 4, pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}  # fmt: skip
BROKEN = (
    ValueError, LookupError, OverflowError, MemoryError, EOFError, OSError, RuntimeError, struct.error, zlib.error, lzma.LZMAError,
    zipfile.BadZipFile,
)  # fmt: skip
"""What reading broken or hostile content raises."""

_DTYPE = re.compile(r"[<>|=]?([?a-zA-Z])(\d*)")


@dataclass
class PickleScan:
    """What was found so far in one model, and how much more may be read."""

    imports: set[str] = field(default_factory=set)
    features: int | None = None
    """How many columns the object was fitted to that was restored last, the outermost one: scikit-learn's `n_features_in_`."""
    root: str = ""
    """What the pickle's object is: the class, `module.name`, of the last pickle's outermost object; "" where that isn't known."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions that objects say they were made with, by package: scikit-learn's `_sklearn_version` of the outermost one."""
    whole: bool = True
    bytes_left: int = field(default_factory=lambda: _MAX_BYTES)
    instructions_left: int = field(default_factory=lambda: _MAX_INSTRUCTIONS)

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
        full_name = f"{module}.{name}"[:_MAX_NAME]
        self.imports.add(full_name)
        return _Made(full_name)


class Stream:
    """Reads forward, within the scan's budget; raises EOFError where the content ends. `cut_off` where it ends too early."""

    def __init__(self, source: Any, scan: PickleScan) -> None:
        self._source, self._scan = source, scan
        self.cut_off = False
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


def scan_pickles(stream: Stream, scan: PickleScan) -> bool:
    """Note the imports of one pickle after another; whether the first was read to its end. What stops it, makes the scan incomplete."""
    ended = False
    try:
        while True:
            _scan_pickle(stream, scan, joblib=True)
            ended = True
            if stream.peek() != b"\x80":
                scan.whole &= not stream.peek()
                return True
    except BROKEN as error:
        scan.whole = False
        stream.cut_off = isinstance(error, EOFError)
        return ended


def refused_by_pickle(head: bytes) -> bool:
    """Whether pickle gives up on these first bytes before it imports anything."""
    scan = PickleScan()
    try:
        _scan_pickle(Stream(io.BufferedReader(io.BytesIO(head[:8])), scan), scan, joblib=False)
    except EOFError:
        return False
    except BROKEN:
        return not scan.imports
    return False


def _scan_pickle(stream: Stream, scan: PickleScan, *, joblib: bool) -> None:
    """Follow one pickle up to its STOP as an unpickler would, with names in place of what they name.

    The stack is followed so that the two names of a STACK_GLOBAL are found wherever they come from, and so that the bytes of the arrays
    that `joblib` writes between two instructions can be stepped over. Raises one of `BROKEN` where it can't go on.
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
                features = state.get("n_features_in_") if isinstance(state, dict) else None
                scan.features = features if isinstance(features, int) else None
                if isinstance(state, dict) and isinstance(version := state.get("_sklearn_version"), str):
                    scan.versions["scikit-learn"] = version
                if isinstance(stack[-1], _Made):
                    stack[-1].state = state
                    if joblib and stack[-1].name.endswith("numpy_pickle.NumpyArrayWrapper"):
                        _skip_array(state, stream, scan)
            case "PERSID":
                raise ValueError("refused by every unpickler but its author's")
            case "STOP":
                outermost = stack.pop()
                scan.root = outermost.name if isinstance(outermost, _Made) else ""
                return
            case _:
                names = [item.name for item in opcode.stack_before]
                if "mark" in names:
                    from_mark()
                    names = names[: names.index("mark")]
                for _ in names:
                    stack.pop()
                stack.extend([argument] * len(opcode.stack_after))


def _argument(opcode: pickletools.OpcodeInfo, stream: Stream) -> Any:
    """An instruction's argument; None in place of a long one, which is only stepped over."""
    if opcode.arg is None:
        return None
    if opcode.name in ("GLOBAL", "INST"):
        return [stream.readline()[:-1].decode("utf-8", "replace") for _ in range(2)]
    if opcode.name == "STRING":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's: an escape in a foreign file that it doesn't know
            return opcode.arg.reader(stream)  # type: ignore[arg-type]
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


def _skip_array(wrapper: Any, stream: Stream, scan: PickleScan) -> None:
    """Step over an array's bytes, which joblib writes right after its `NumpyArrayWrapper`; an array of objects is a pickle again."""
    try:
        dtype, shape = wrapper["dtype"], tuple(wrapper["shape"])
        code, digits = _DTYPE.fullmatch(dtype.arguments[0]).groups()  # type: ignore[union-attr]
        size = dtype.state[5] if dtype.state and dtype.state[5] > 0 else int(digits or 1)
        aligned = wrapper.get("numpy_array_alignment_bytes") is not None
    except (TypeError, AttributeError) as error:
        raise ValueError("joblib wrote no such array") from error
    if len(shape) > 64 or not all(isinstance(length, int) and length >= 0 for length in (size, *shape)):
        raise ValueError("joblib wrote no such array")
    if code == "O":
        _scan_pickle(stream, scan, joblib=False)
        return
    if aligned:
        stream.skip(stream.read(1)[0])
    stream.skip(size * math.prod(shape))
