"""Files and folders on this machine: what is there, in which order, how large, how it ends, and the SHA-256 that a person consents to."""

from __future__ import annotations

import filecmp
import hashlib
import io
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path

from services.errors import IntakeError, NotFound, WorkspaceUnavailable, os_errors_as
from services.file_names import short

_BY_EFFECTIVE_IDS = os.access in os.supports_effective_ids  # those that opening it goes by


def path_given(text: str | Path) -> Path:
    """The path that a person means, absolute, `~` being a home. Raises NotFound for none, which would be the folder that this program
    happens to be in, and for the home of a user that isn't known here."""
    if not str(text).strip():
        raise NotFound("No path is given.", "Give the path of a file or folder.")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        user = short(str(text).partition("/")[0])
        raise NotFound(f"There is no home of {user}, so no {short(str(text))}.", "Write the path from / on.") from error


def stat_of(path: Path) -> os.stat_result:
    """Of a file or folder. Raises NotFound where there is nothing, IntakeError for anything else."""
    try:
        info = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise NotFound(f"There is no file or folder {short(str(path))}.", "Check the path.") from error
    except OSError as error:
        raise IntakeError(f"{short(str(path))} can't be accessed: {error.strerror or error}.", "Check its permissions.") from error
    if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
        raise IntakeError(f"{path} is neither a file nor a folder.", "Choose a file or a folder.")
    return info


@contextmanager
def reading(path: Path | str) -> Iterator[io.BufferedReader]:
    """The file at `path`, opened. Raises IntakeError where that or reading fails."""
    with os_errors_as(IntakeError, f"{short(str(path))} can't be read", "Check its permissions."), open(path, "rb") as opened:
        yield opened


def walk(root: Path, leave_out: Callable[[str], bool] = lambda path: False) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """What isn't a folder below `root`, with its path relative to it, in the order of those paths. Links to folders are not followed.
    `leave_out` gets each relative path, that of a folder with `/` at its end."""

    def listed(folder: str, prefix: str) -> list[tuple[str, os.DirEntry[str]]]:
        unreadable = f"The folder {short(folder)} can't be read"
        with os_errors_as(IntakeError, unreadable, "Check its permissions."), os.scandir(folder) as entries:
            paths = [(f"{prefix}{entry.name}/" if entry.is_dir(follow_symlinks=False) else prefix + entry.name, entry) for entry in entries]
        paths = [(path, entry) for path, entry in paths if not leave_out(path)]
        paths.sort(key=itemgetter(0), reverse=True)  # "a/" and "a.csv" in the order that "a/b" and "a.csv" have
        return paths

    pending = listed(str(root), "")
    while pending:
        relative, entry = pending.pop()
        if relative.endswith("/"):
            pending += listed(entry.path, relative)
        else:
            yield relative, entry


def file_stat(entry: os.DirEntry[str], relative: str) -> os.stat_result | None:
    """Of a file that can be read; None for a link to a folder. Raises IntakeError for what can't be read as a file."""
    try:
        info = entry.stat()
    except OSError as error:
        raise IntakeError(
            f"The file “{short(relative)}” can't be read: {error.strerror}.", "Fix it, or choose a pattern that leaves it out."
        ) from error
    if stat.S_ISDIR(info.st_mode):
        return None
    if not stat.S_ISREG(info.st_mode):
        raise IntakeError(f"“{short(relative)}” is not a regular file.", "Remove it, or choose a pattern that leaves it out.")
    if info.st_mode & 0o444 != 0o444 and not may_read(entry.path):  # saves a system call for most files
        raise IntakeError(f"The file “{short(relative)}” can't be read: permission denied.", "Allow reading it, or leave it out.")
    return info


def protect(path: Path) -> None:
    """Scripts get the registered files themselves: they may read them, not change them."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and not file.is_symlink():
            file.chmod(0o444)


def may_read(path: str | Path) -> bool:
    return os.access(path, os.R_OK, effective_ids=_BY_EFFECTIVE_IDS)


def files_of(path: Path) -> list[tuple[str, str, int]]:
    """Every file of a model as (relative path, path to open, bytes), in order; of a model that is one file, that file.

    Raises NotFound, and IntakeError for what can't be read and for a link to a folder: what is registered must be what was looked at.
    """
    info = stat_of(path)
    if stat.S_ISREG(info.st_mode):
        return [(path.name, str(path), info.st_size)]
    files = []
    for relative, entry in walk(path):
        file = file_stat(entry, relative)
        if file is None:
            raise IntakeError(f"“{short(relative)}” in the model's folder is a link to a folder.", "Put the folder itself there.")
        files.append((relative, entry.path, file.st_size))
    return files


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder. Raises as `files_of`."""
    return sum(size for _, _, size in files_of(path))


def bytes_below(path: Path) -> int:
    """Bytes of a file, or of all files below a folder, as far as they can be read; links are not followed. 0 where there is nothing."""
    total = 0
    with suppress(OSError):
        if not stat.S_ISDIR((info := path.lstat()).st_mode):
            return info.st_size
    for folder, _, files in os.walk(path):
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, as far as that is possible: also what a script left there that may not be written.
    A link is removed, not what it leads to."""
    if not path.is_dir() or path.is_symlink():
        with suppress(OSError):
            path.unlink()
        return
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        for folder, folders, files in os.walk(path):
            for name in (".", *folders, *(files if os.name == "nt" else ())):
                if not os.path.islink(os.path.join(folder, name)):
                    with suppress(OSError):
                        os.chmod(Path(folder, name), 0o700)
        shutil.rmtree(path, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes; of a folder, that of its files: see `sha256_of_files`. In hex. Raises as `files_of`."""
    files = files_of(path)
    if path.is_file():
        return _sha256_of_file(files[0][1])
    return sha256_of_files((relative, name) for relative, name, _ in files)


def sha256_of_files(files: Iterable[tuple[str, str | Path]]) -> str:
    """That of their names and SHA-256s in order, of each its name and its path here. Raises as `reading`."""
    lines = (f"{relative}\0{_sha256_of_file(path)}\n".encode("utf-8", "surrogatepass") for relative, path in files)
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _sha256_of_file(path: str | Path) -> str:
    with reading(path) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def link_same_files(folder: Path, earlier: Path) -> None:
    """Have each file of `folder` that `earlier` has under the same path, with the same content and time, be that file under a second name,
    so that it takes its disk once. Where the disk has no such links, it stays."""
    for relative, entry in walk(folder):
        with suppress(OSError):
            info, other = entry.stat(), os.stat(earlier / relative)
            same = (info.st_size, info.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
            if same and filecmp.cmp(entry.path, earlier / relative, shallow=False):
                linked = f"{entry.path}.linked"
                os.link(earlier / relative, linked)
                os.replace(linked, entry.path)


def make_folders(home: Path, *names: str) -> None:
    """Make these folders below `home`, which is made too, for this user only. Raises WorkspaceUnavailable."""
    hint = "Choose another one by --home or BATCH_SCORING_HOME, or fix its permissions."
    with os_errors_as(WorkspaceUnavailable, f"The workspace's folder, {home}, can't be made or written", hint):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in names:
            (home / name).mkdir(parents=True, exist_ok=True)


def tail(path: Path, limit: int) -> tuple[str, int]:
    """The text at the end of a file, at most `limit` bytes of it, and the file's size in bytes. Undecodable bytes are escaped.

    Raises OSError.
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - limit))
        return file.read(limit).decode("utf-8", "backslashreplace"), size


def last_line(path: Path) -> str:
    """The last line that says anything, at most 300 characters of it; empty where the file can't be read."""
    with suppress(OSError):
        lines = tail(path, 2000)[0].split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
    return ""
