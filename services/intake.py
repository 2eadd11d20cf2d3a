"""What comes in from outside: names, uploads, archives, folders of files, entry scripts. Hostile until looked at; nothing is executed.

Whatever is refused leaves nothing behind, and the message names it.
"""

from __future__ import annotations

import ast
import fnmatch
import io
import lzma
import os
import re
import shutil
import stat
import struct
import sys
import tokenize
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from services.domain import DatasetFile, counted
from services.errors import EntryScriptError, IntakeError, SettingsError
from services.file_tree import file_stat, is_junk, may_read, reading, short, size_in_words, stat_of, walk

_CHUNK = 1 << 20
_LARGEST_SCRIPT = 1 << 20
_SMALL_ENOUGH = 1 << 20  # an archive that unpacks to less is no bomb, however well it is compressed
_DAMAGED = (zipfile.BadZipFile, EOFError, ValueError, struct.error, zlib.error, lzma.LZMAError, OSError)


# ---- names -----------------------------------------------------------------------------------------------------------------------


# They can't be folders there, and a home may be copied to such a machine.
_RESERVED_BY_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def check_name(field: str, name: str) -> str:
    """`name` as it may be given to a model, dataset or environment; Azure ML's rule (azureml-core,
    `_model_management._util.model_name_validation`).

    Raises SettingsError on `field`.
    """
    if not re.fullmatch(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,253}[a-zA-Z0-9_-])?", name) or _RESERVED_BY_WINDOWS.fullmatch(name):
        raise SettingsError(
            field,
            f"“{short(name)}” is no name that Azure ML takes" if name else "a name is needed",
            "Use letters, digits, - _ and . only, begin with a letter or digit, don't end with a dot, 255 characters at most.",
        )
    return name


def safe_relative_path(given: str) -> PurePosixPath:
    """The name of an upload or of an archive's member as a path that stays inside the folder it is put in.

    `/` separates folders. A backslash does not: on Linux and macOS it is a letter like any other, and what Windows makes of it is
    refused there; only `..` and absolute names are refused in either reading. Raises IntakeError.
    """

    def refuse(why: str) -> IntakeError:
        return IntakeError(f"The file name “{short(given)}” {why}, so nothing was taken.", "Rename the file and try again.")

    if "\0" in given:
        raise refuse("holds a NUL character")
    if given.startswith(("/", "\\")) or re.match(r"[a-zA-Z]:($|[/\\])", given):
        raise refuse("is an absolute path")
    if ".." in re.split(r"[/\\]", given):
        raise refuse("leads out of its folder by “..”")
    path = PurePosixPath(given)
    if not path.parts:
        raise refuse("is empty")
    for part in path.parts:
        if len(part.encode("utf-8", "surrogatepass")) > 255:
            raise refuse("is longer than 255 bytes")
        if sys.platform == "win32" and (set(part) & set('<>:"|?*\\') or PureWindowsPath(part).is_reserved()):
            raise refuse("can't be written on Windows")
    return path


# ---- uploads and archives --------------------------------------------------------------------------------------------------------


@contextmanager
def _all_or_nothing(into: Path) -> Iterator[Callable[[str, PurePosixPath], BinaryIO]]:
    """Gives `create(name, relative)`, which makes a new file below `into` and its folders. All of it is removed if the block fails."""
    made: list[str] = []
    folders: set[str] = set()

    def need(folder: str) -> None:
        if folder not in folders:
            if not os.path.isdir(folder):
                need(os.path.dirname(folder))
                os.mkdir(folder)
                made.append(folder)
            folders.add(folder)

    def create(name: str, relative: PurePosixPath) -> BinaryIO:
        target = os.path.join(root, *relative.parts)
        try:
            need(os.path.dirname(target))
            created = open(target, "xb")  # noqa: SIM115
        except (FileExistsError, NotADirectoryError) as error:
            raise IntakeError(f"Two files are called “{short(name)}”, so nothing was taken.", "Rename one of them.") from error
        made.append(target)
        return created

    root = os.path.abspath(into)
    try:
        need(root)
        yield create
    except BaseException as error:
        for path in reversed(made):
            with suppress(OSError):
                os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
        if isinstance(error, OSError):
            raise IntakeError(
                f"Writing to {into} failed: {error.strerror or error}.", "Check that the disk has room and that the folder may be written."
            ) from error
        raise


def store_uploads(files: Iterable[tuple[str, BinaryIO]], into: Path) -> int:
    """Write uploads, each a name as the browser gave it and an open file, below `into`; how many. All of them, or none.

    Raises IntakeError for a name that leads elsewhere, for two files of one name, and where writing fails.
    """
    count = 0
    with _all_or_nothing(into) as create:
        for name, source in files:
            if source.seekable():
                source.seek(0)
            with create(name, safe_relative_path(name)) as target:
                shutil.copyfileobj(source, target, _CHUNK)
            count += 1
    return count


def _member_name(member: zipfile.ZipInfo) -> str:
    """A member's name with `/` between folders, as its maker meant it."""
    name = member.orig_filename
    if not member.flag_bits & 0x800:  # macOS writes UTF-8 without saying so, and zipfile then reads it as cp437
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/") if member.create_system == 0 else name  # older Windows tools write backslashes


def _checked_members(archive: zipfile.ZipFile, max_files: int, max_bytes: int) -> dict[PurePosixPath, tuple[str, zipfile.ZipInfo]]:
    """The files of an archive by their path, each with its name and member, if none of them is refused."""
    members: dict[PurePosixPath, tuple[str, zipfile.ZipInfo]] = {}
    for member in archive.infolist():
        name = _member_name(member)
        path, mode = safe_relative_path(name), member.external_attr >> 16
        why = None
        if stat.S_ISLNK(mode):
            why = "is a link"
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            why = "is a device, not a file"
        elif member.flag_bits & 0x41:
            why = "is encrypted"
        elif path in members:
            why = "is there twice"
        if why:
            raise IntakeError(f"“{short(name)}” in the zip {why}, so nothing was taken.", "Make a zip of plain files, without a password.")
        if not name.endswith("/") and not any(map(is_junk, path.parts)):
            members[path] = name, member
            max_bytes -= member.file_size
            if max_bytes < 0:
                raise _too_much(name)
    if len(members) > max_files:
        raise IntakeError(f"The zip holds {counted(len(members), 'file')}, more than {max_files:,}.", "Register its folder by path.")
    if not members:
        raise IntakeError("The zip holds no files.", "Choose a zip with the files to score.")
    return members


def extract_zip(
    archive: Path | BinaryIO, into: Path, *, max_files: int = 1_000_000, max_bytes: int = 50 * 2**30, max_ratio: int = 200
) -> int:
    """Unpack a zip's files below `into`, all of them or none; how many. Junk such as `__MACOSX/` is left out.

    Refuses names that lead elsewhere, links, devices, encrypted members, two files of one name, a damaged archive, and one that unpacks
    to more than `max_bytes`, more than the disk has room for, or more than `max_ratio` times its own size (1 MiB always passes). Bytes
    are counted as they are written: what the archive says of itself may only refuse it earlier. Raises IntakeError, NotFound.
    """
    if isinstance(archive, Path):
        if stat.S_ISDIR(stat_of(archive).st_mode):
            raise IntakeError(f"“{short(archive.name)}” is a folder, not a zip.", "Register the folder by its path.")
        with reading(archive) as source:
            return extract_zip(source, into, max_files=max_files, max_bytes=max_bytes, max_ratio=max_ratio)
    limit = min(max_bytes, max(_SMALL_ENOUGH, max_ratio * archive.seek(0, os.SEEK_END)))
    try:
        opened = zipfile.ZipFile(archive)
    except (*_DAMAGED, NotImplementedError) as error:
        raise IntakeError(f"This is no zip archive, or it is cut off or damaged: {error}.", "Make the zip again.") from error
    with opened:
        members = _checked_members(opened, max_files, limit)
        needed, room = sum(member.file_size for _, member in members.values()), _room(into)
        if needed > room:
            sizes = f"The zip unpacks to {size_in_words(needed)}, and the disk of {into} has {size_in_words(room)} left."
            raise IntakeError(sizes, "Make room first.")
        with _all_or_nothing(into) as create:
            for path, (name, member) in members.items():
                with create(name, path) as target:
                    for chunk in _chunks(opened, name, member):
                        limit -= len(chunk)
                        if limit < 0:
                            raise _too_much(name)
                        target.write(chunk)
    return len(members)


def _chunks(archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """A member's bytes. Raises IntakeError where it is damaged, or packed in a way that Python can't unpack."""
    try:
        with archive.open(member) as source:
            while chunk := source.read(_CHUNK):
                yield chunk
    except NotImplementedError as error:
        raise IntakeError(f"“{short(name)}” in the zip can't be unpacked here: {error}.", "Make the zip with the usual deflate.") from error
    except _DAMAGED as error:
        raise IntakeError(f"“{short(name)}” in the zip is damaged: {error}.", "Make the zip again.") from error


def _too_much(name: str) -> IntakeError:
    return IntakeError(
        f"The zip unpacks to far more than a zip of its size should, at “{short(name)}”, so nothing was taken.",
        "If that is right, unpack it yourself and register the folder by its path.",
    )


def _room(folder: Path) -> int:
    """Bytes free on the disk that `folder` is, or will be, on."""
    return shutil.disk_usage(next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())).free


# ---- folders registered in place -------------------------------------------------------------------------------------------------


def collect_files(root: Path, glob: str) -> Iterator[DatasetFile]:
    """The files of folder `root` whose relative path matches `glob`, sorted by it; or `root` itself where it is one file.

    In a pattern `*`, `?` and `[...]` stay within one name and `**` stands for any number of folders, none included: `*.csv` are the files
    at the top, `**/*.csv` those anywhere, `2026/**` all below one folder. Case counts. Links to files are followed, links to folders
    are not, and what file browsers and Jupyter leave behind is no file of the dataset.

    While it is read, raises NotFound where there is no `root`, SettingsError on `glob` for a pattern that is none, and IntakeError for an
    empty folder, for one without a match, and for a file or folder that can't be read.
    """
    matches = _pattern(glob).fullmatch
    info = stat_of(root)
    if stat.S_ISREG(info.st_mode):
        if not may_read(root):
            raise IntakeError(f"{root} can't be read: permission denied.", "Allow reading it.")
        yield DatasetFile(root.name, info.st_size, info.st_mtime_ns)
        return
    seen = matched = 0
    for relative, entry in walk(root, junk=False):
        if not matches(relative):
            seen += 1
        elif file := file_stat(entry, relative):
            matched += 1
            yield DatasetFile(relative, file.st_size, file.st_mtime_ns)
    if not matched:
        holds = f"holds {counted(seen, 'file')}, none of which matches {glob}" if seen else "holds no files"
        raise IntakeError(f"The folder {root} {holds}.", "Choose another folder or pattern; **/*.csv means CSV files at any depth.")


def _pattern(glob: str) -> re.Pattern[str]:
    """`glob` as a regular expression for relative paths."""
    segments = [segment for segment in glob.split("/") if segment != "."]
    if not segments or not glob or glob.startswith("/") or ".." in segments:
        raise SettingsError("glob", f"“{short(glob)}” is no pattern of files in the folder", "Write for example ** or *.csv.")
    *folders, last = segments
    if last in ("**", ""):
        folders, last = [*folders, "**"], "*"
    return re.compile("".join("(?:[^/]+/)*" if name == "**" else _name(name) + "/" for name in folders) + _name(last))


def _name(pattern: str) -> str:
    """The pattern of one name as a regular expression. A `*` never takes back what it took, so no pattern runs for ever."""
    parts = [""]
    for token in re.findall(r"\[!?\]?[^\]]*\]|.", pattern, re.DOTALL):
        if token == "*":
            parts.append("")
        elif token == "?":
            parts[-1] += "[^/]"
        elif len(token) == 1:
            parts[-1] += re.escape(token)
        else:
            parts[-1] += "(?!/)" + fnmatch.translate(token).removeprefix("(?s:")[: -len(r")\Z")]
    if len(parts) == 1:
        return parts[0]
    first, *middle, last = parts
    return first + "".join(f"(?>[^/]*?{part})" for part in middle) + "[^/]*" + last


# ---- entry scripts ---------------------------------------------------------------------------------------------------------------


def check_entry_script(source: bytes, name: str) -> str:
    """The docstring of a scoring script that parses and has a `run` which can be called with a mini-batch. It is not executed.

    Raises EntryScriptError with the line and what to do.
    """
    tree = _parsed(source, name)
    bindings = list(_bindings_of_run(tree))
    hint = "Define run(mini_batch) at the top level: it gets a list of file paths and returns one element for each."
    if not bindings:
        raise EntryScriptError(f"{short(name)} has no function run.", hint)
    run = bindings[-1]
    if isinstance(run, ast.AsyncFunctionDef):
        raise EntryScriptError(f"{short(name)}, line {run.lineno}: run is an async function; nothing would await it.", hint)
    if isinstance(run, ast.FunctionDef) and not run.decorator_list:
        takes = len(run.args.posonlyargs) + len(run.args.args)
        needs = takes - len(run.args.defaults)
        if needs > 2 or not (takes or run.args.vararg) or None in run.args.kw_defaults:
            raise EntryScriptError(f"{short(name)}, line {run.lineno}: run can't be called with a mini-batch alone.", hint)
    return ast.get_docstring(tree) or ""


def _parsed(source: bytes, name: str) -> ast.Module:
    if not source.strip():
        raise EntryScriptError(f"{short(name)} is empty.", "Choose the script that has init() and run(mini_batch).")
    if len(source) > _LARGEST_SCRIPT:
        size = size_in_words(len(source))
        raise EntryScriptError(f"{short(name)} is {size}: no script.", "Keep what is not code in files beside the script.")
    if b"\0" in source:
        raise EntryScriptError(f"{short(name)} is no Python script: it holds NUL bytes.", "Save it as UTF-8 text.")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        text = source.decode(encoding)
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        raise EntryScriptError(f"{short(name)}, line {line}: these bytes are no {error.encoding} text.", "Save it as UTF-8.") from error
    except (SyntaxError, LookupError, UnicodeError) as error:
        raise EntryScriptError(f"{short(name)} can't be decoded: {error}.", "Save it as UTF-8.") from error
    try:
        tree = ast.parse(text)
        compile(tree, "script", "exec", dont_inherit=True)  # finds what parsing lets pass, such as a return outside a function
    except SyntaxError as error:
        shown = "".join(traceback.format_exception_only(error))
        raise EntryScriptError(f"{short(name)}, line {error.lineno}: {error.msg}.", "Mend the script.", traceback=shown) from error
    except (RecursionError, MemoryError, ValueError, OverflowError) as error:
        raise EntryScriptError(f"{short(name)} is too deeply nested to be a script.", "Mend the script.") from error
    return tree


def _bindings_of_run(tree: ast.Module) -> Iterator[ast.AST]:
    """What gives the name `run` a value when the module's top level is executed, in order. `import *` may, so it counts."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name == "run":
                yield node
        elif isinstance(node, ast.Name):
            if node.id == "run" and isinstance(node.ctx, ast.Store):
                yield node
        elif isinstance(node, ast.alias):
            if (node.asname or node.name.split(".")[0]) in ("run", "*"):
                yield node
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            pending += reversed(list(ast.iter_child_nodes(node)))
