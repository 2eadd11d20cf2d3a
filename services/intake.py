"""What comes in from outside: names, uploads, archives, folders of files, entry scripts. Hostile until looked at; nothing is executed.

Whatever is refused leaves nothing behind, and the message names it.
"""

from __future__ import annotations

import ast
import fnmatch
import hashlib
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
from operator import itemgetter
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from services.domain import DatasetFile, counted
from services.errors import EntryScriptError, IntakeError, NotFound, SettingsError

_CHUNK = 1 << 20
_LARGEST_SCRIPT = 1 << 20
_SMALL_ENOUGH = 1 << 20  # an archive that unpacks to less is no bomb, however well it is compressed
_DAMAGED = (zipfile.BadZipFile, EOFError, ValueError, struct.error, zlib.error, lzma.LZMAError, OSError)
_JUNK = {".DS_Store", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints", "__MACOSX"}


def _is_junk(name: str) -> bool:
    """What file browsers, Jupyter and Office leave in folders, and nobody means to score."""
    return name in _JUNK or name.startswith("~$")


def _short(name: str) -> str:
    return name if len(name) <= 120 else f"{name[:80]}…{name[-30:]}"


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"


# ---- names -----------------------------------------------------------------------------------------------------------------------


def check_name(field: str, name: str) -> str:
    """`name` as it may be given to a model or dataset; Azure ML's rule (azureml-core, `_util.validate_model_name`... ).

    Raises SettingsError on `field`.
    """
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}", name):
        raise SettingsError(
            field,
            f"“{_short(name)}” is no name for a model or dataset" if name else "a name is needed",
            "Use letters, digits, - _ and . only, begin with a letter or digit, 255 characters at most.",
        )
    return name


def safe_relative_path(given: str) -> PurePosixPath:
    """The name of an upload or of an archive's member as a path that stays inside the folder it is put in.

    `/` separates folders. A backslash does not: on Linux and macOS it is a letter like any other, and what Windows makes of it is
    refused there; only `..` and absolute names are refused in either reading. Raises IntakeError.
    """

    def refuse(why: str) -> IntakeError:
        return IntakeError(f"The file name “{_short(given)}” {why}, so nothing was taken.", "Rename the file and try again.")

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
            raise IntakeError(f"Two files are called “{_short(name)}”, so nothing was taken.", "Rename one of them.") from error
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
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return name.replace("\\", "/") if member.create_system == 0 else name  # older Windows tools write backslashes


def _checked_members(archive: zipfile.ZipFile, max_files: int, max_bytes: int) -> list[tuple[str, PurePosixPath, zipfile.ZipInfo]]:
    """The files of an archive as (name, path, member), if none of them is refused."""
    members = []
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
        if why:
            raise IntakeError(f"“{_short(name)}” in the zip {why}, so nothing was taken.", "Make a zip of plain files, without a password.")
        if not name.endswith("/") and not any(map(_is_junk, path.parts)):
            members.append((name, path, member))
    if len(members) > max_files:
        raise IntakeError(
            f"The zip holds {counted(len(members), 'file')}; at most {max_files:,} are taken.", "Register an unpacked folder by its path."
        )
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
        if stat.S_ISDIR(_stat(archive).st_mode):
            raise IntakeError(f"“{_short(archive.name)}” is a folder, not a zip.", "Register the folder by its path.")
        with _reading(archive) as source:
            return extract_zip(source, into, max_files=max_files, max_bytes=max_bytes, max_ratio=max_ratio)
    limit = min(max_bytes, max(_SMALL_ENOUGH, max_ratio * archive.seek(0, os.SEEK_END)))
    try:
        opened = zipfile.ZipFile(archive)
    except (*_DAMAGED, NotImplementedError) as error:
        raise IntakeError(f"This is no zip archive, or it is cut off or damaged: {error}.", "Make the zip again.") from error
    with opened:
        members = _checked_members(opened, max_files, limit)
        needed, room = sum(member.file_size for _, _, member in members), _room(into)
        if needed > room:
            raise IntakeError(f"The zip unpacks to {_size(needed)}, and the disk of {into} has {_size(room)} left.", "Make room first.")
        with _all_or_nothing(into) as create:
            for name, path, member in members:
                with create(name, path) as target:
                    limit -= _unpack(opened, name, member, target, limit)
    return len(members)


def _unpack(archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo, target: BinaryIO, limit: int) -> int:
    """Write one member; how many bytes. Raises IntakeError where it is damaged or would be more than `limit`."""
    written = 0
    try:
        with archive.open(member) as source:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > limit:
                    raise _too_much(name)
                target.write(chunk)
    except _DAMAGED as error:
        raise IntakeError(f"“{_short(name)}” in the zip is damaged: {error}.", "Make the zip again.") from error
    except NotImplementedError as error:
        raise IntakeError(
            f"“{_short(name)}” in the zip is packed in a way that can't be unpacked here: {error}.", "Make the zip with deflate."
        ) from error
    return written


def _too_much(name: str) -> IntakeError:
    return IntakeError(
        f"The zip unpacks to far more than a zip of its size should, at “{_short(name)}”, so nothing was taken.",
        "If that is right, unpack it yourself and register the folder by its path.",
    )


def _room(folder: Path) -> int:
    """Bytes free on the disk that `folder` is, or will be, on."""
    return shutil.disk_usage(next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())).free


# ---- files and folders on this machine -------------------------------------------------------------------------------------------


def _stat(path: Path) -> os.stat_result:
    """Of a file or folder. Raises NotFound where there is nothing, IntakeError for anything else."""
    try:
        info = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise NotFound(f"There is no file or folder {_short(str(path))}.", "Check the path.") from error
    except OSError as error:
        raise IntakeError(f"{_short(str(path))} can't be looked at: {error.strerror or error}.", "Check its permissions.") from error
    if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
        raise IntakeError(f"{path} is neither a file nor a folder.", "Choose a file or a folder.")
    return info


@contextmanager
def _reading(path: Path | str) -> Iterator[BinaryIO]:
    try:
        with open(path, "rb") as opened:
            yield opened
    except OSError as error:
        raise IntakeError(f"{_short(str(path))} can't be read: {error.strerror or error}.", "Check its permissions.") from error


def _walk(root: Path, *, junk: bool) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """What isn't a folder below `root`, with its path relative to it, in the order of those paths. Links to folders are not followed."""

    def listed(folder: str, prefix: str) -> list[tuple[str, os.DirEntry[str]]]:
        try:
            with os.scandir(folder) as entries:
                found = [
                    (f"{prefix}{entry.name}/" if entry.is_dir(follow_symlinks=False) else prefix + entry.name, entry)
                    for entry in entries
                    if junk or not _is_junk(entry.name)
                ]
        except OSError as error:
            raise IntakeError(f"The folder {_short(folder)} can't be read: {error.strerror}.", "Check its permissions.") from error
        found.sort(key=itemgetter(0), reverse=True)  # "a/" and "a.csv" in the order that "a/b" and "a.csv" have
        return found

    pending = listed(str(root), "")
    while pending:
        relative, entry = pending.pop()
        if relative.endswith("/"):
            pending += listed(entry.path, relative)
        else:
            yield relative, entry


def _file_stat(entry: os.DirEntry[str], relative: str) -> os.stat_result | None:
    """Of a file that can be read; None for a link to a folder. Raises IntakeError for what can't be read as a file."""
    try:
        info = entry.stat()
    except OSError as error:
        raise IntakeError(f"The file “{_short(relative)}” can't be read: {error.strerror}.", "Mend or remove it.") from error
    if stat.S_ISDIR(info.st_mode):
        return None
    if not stat.S_ISREG(info.st_mode):
        raise IntakeError(f"“{_short(relative)}” is no plain file.", "Remove it, or choose a pattern that leaves it out.")
    if not _may_read(entry.path):
        raise IntakeError(f"The file “{_short(relative)}” can't be read: permission denied.", "Allow reading it, or leave it out.")
    return info


def _may_read(path: str | Path) -> bool:
    return os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)


def collect_files(root: Path, glob: str = "**") -> Iterator[DatasetFile]:
    """The files of folder `root` whose relative path matches `glob`, sorted by it; or `root` itself where it is one file.

    In a pattern `*`, `?` and `[...]` stay within one name and `**` stands for any number of folders, none included: `*.csv` are the files
    at the top, `**/*.csv` those anywhere, `2026/**` all below one folder. Case counts. Links to files are followed, links to folders
    are not, and what file browsers and Jupyter leave behind is no file of the dataset.

    While it is read, raises NotFound where there is no `root`, SettingsError on `glob` for a pattern that is none, and IntakeError for an
    empty folder, for one without a match, and for a file or folder that can't be read.
    """
    matches = _pattern(glob).fullmatch
    info = _stat(root)
    if stat.S_ISREG(info.st_mode):
        if not _may_read(root):
            raise IntakeError(f"{root} can't be read: permission denied.", "Allow reading it.")
        yield DatasetFile(root.name, info.st_size, info.st_mtime_ns)
        return
    seen = matched = 0
    for relative, entry in _walk(root, junk=False):
        if not matches(relative):
            seen += 1
        elif file := _file_stat(entry, relative):
            matched += 1
            yield DatasetFile(relative, file.st_size, file.st_mtime_ns)
    if not matched:
        holds = f"holds {counted(seen, 'file')}, none of which matches {glob}" if seen else "holds no files"
        raise IntakeError(f"The folder {root} {holds}.", "Choose another folder or pattern; **/*.csv means CSV files at any depth.")


def _pattern(glob: str) -> re.Pattern[str]:
    """`glob` as a regular expression for relative paths."""
    segments = [segment for segment in glob.split("/") if segment != "."]
    if not glob or glob.startswith("/") or ".." in segments:
        raise SettingsError("glob", f"“{_short(glob)}” is no pattern of files inside the folder", "Write for example ** or *.csv.")
    if segments[-1] == "**" or not segments[-1]:
        segments[-1:] = ["**", "*"]
    return re.compile("".join(_segment(segment) + "/" if segment != "**" else "(?:[^/]+/)*" for segment in segments)[:-1], re.DOTALL)


# ---- models ----------------------------------------------------------------------------------------------------------------------


def files_of(path: Path) -> list[tuple[str, str, int]]:
    """Every file of a model as (relative path, path to open, bytes), in order; of a model that is one file, that file.

    Raises NotFound, and IntakeError for what can't be read and for a link to a folder: what is registered must be what was looked at.
    """
    info = _stat(path)
    if stat.S_ISREG(info.st_mode):
        return [(path.name, str(path), info.st_size)]
    files = []
    for relative, entry in _walk(path, junk=True):
        file = _file_stat(entry, relative)
        if file is None:
            raise IntakeError(f"“{_short(relative)}” in the model's folder is a link to a folder.", "Put the folder itself there.")
        files.append((relative, entry.path, file.st_size))
    return files


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder. Raises as `files_of`."""
    return sum(size for _, _, size in files_of(path))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes; of a folder, that of its files' names and SHA-256s in order. In hex. Raises as `files_of`."""

    def digest(name: str) -> str:
        with _reading(name) as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    files = files_of(path)
    if path.is_file():
        return digest(files[0][1])
    lines = (f"{relative}\0{digest(name)}\n".encode("utf-8", "surrogatepass") for relative, name, _ in files)
    return hashlib.sha256(b"".join(lines)).hexdigest()


# ---- entry scripts ---------------------------------------------------------------------------------------------------------------


def check_entry_script(source: bytes, name: str) -> str:
    """The docstring of a scoring script that parses and has a `run` which can be called with a mini-batch. It is not executed.

    Raises EntryScriptError with the line and what to do.
    """
    tree = _parsed(source, name)
    bindings = list(_bindings_of_run(tree.body))
    hint = "Define run(mini_batch) at the top level: it gets a list of file paths and returns one element for each."
    if not bindings:
        raise EntryScriptError(f"{_short(name)} has no function run.", hint)
    run = bindings[-1]
    if isinstance(run, ast.AsyncFunctionDef):
        raise EntryScriptError(f"{_short(name)}, line {run.lineno}: run is an async function; nothing would await it.", hint)
    if isinstance(run, ast.FunctionDef) and not run.decorator_list:
        takes = len(run.args.posonlyargs) + len(run.args.args)
        needs = takes - len(run.args.defaults)
        if needs > 2 or not (takes or run.args.vararg) or None in run.args.kw_defaults:
            raise EntryScriptError(
                f"{_short(name)}, line {run.lineno}: run can't be called with a mini-batch alone: run({ast.unparse(run.args)}).", hint
            )
    return ast.get_docstring(tree) or ""


def _parsed(source: bytes, name: str) -> ast.Module:
    if not source.strip():
        raise EntryScriptError(f"{_short(name)} is empty.", "Choose the script that has init() and run(mini_batch).")
    if len(source) > _LARGEST_SCRIPT:
        raise EntryScriptError(f"{_short(name)} is {_size(len(source))}: no script.", "Keep what is not code in files beside the script.")
    if b"\0" in source:
        raise EntryScriptError(f"{_short(name)} is no Python script: it holds NUL bytes.", "Save it as UTF-8 text.")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        text = source.decode(encoding)
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        raise EntryScriptError(f"{_short(name)}, line {line}: these bytes are no {error.encoding} text.", "Save it as UTF-8.") from error
    except (SyntaxError, LookupError) as error:
        raise EntryScriptError(f"{_short(name)} can't be decoded: {error}.", "Save it as UTF-8.") from error
    try:
        tree = ast.parse(text)
        compile(tree, "script", "exec", dont_inherit=True)  # finds what parsing lets pass, such as a return outside a function
    except SyntaxError as error:
        shown = "".join(traceback.format_exception_only(error))
        raise EntryScriptError(f"{_short(name)}, line {error.lineno}: {error.msg}.", "Mend the script.", traceback=shown) from error
    except (RecursionError, MemoryError, ValueError, OverflowError) as error:
        raise EntryScriptError(f"{_short(name)} is too deeply nested to be a script.", "Mend the script.") from error
    return tree


def _bindings_of_run(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """What gives the name `run` a value when the module's top level is executed, in order. `import *` may, so it counts."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name == "run":
                yield node
        elif isinstance(node, ast.Name):
            if node.id == "run" and isinstance(node.ctx, ast.Store):
                yield node
        elif isinstance(node, ast.alias):
            if (node.asname or node.name.split(".")[0]) in ("run", "*"):
                yield node
        elif not isinstance(node, ast.Lambda):
            yield from _bindings_of_run(ast.iter_child_nodes(node))
