"""Uploads and archives, unpacked below a folder: all of it, or nothing. Hostile until looked at; nothing is executed."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from services import formats
from services.errors import IntakeError, os_errors_as
from services.file_names import is_junk, safe_relative_path, short
from services.formats import counted
from services.storage.file_tree import reading, stat_of

_CHUNK = 1 << 20
_SMALL_ENOUGH = 1 << 20  # an archive that unpacks to less can't be a bomb
_DAMAGED = (zipfile.BadZipFile, EOFError, ValueError, struct.error, zlib.error, lzma.LZMAError, OSError)


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
    with os_errors_as(IntakeError, f"Writing to {into} failed", "Check that the disk has room and that the folder may be written."):
        try:
            need(root)
            yield create
        except BaseException:  # Ctrl-C too leaves nothing behind; it is raised again
            for path in reversed(made):
                with suppress(OSError):
                    os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
            raise


def store_uploads(files: Iterable[tuple[str, BinaryIO]], into: Path) -> int:
    """Write uploads, each a name as the browser gave it and an open file, below `into`; how many. All of them, or none. Raises IntakeError
    for a name that leads elsewhere, for two files of one name, and where writing fails."""
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
        reason = None
        if stat.S_ISLNK(mode):
            reason = "is a link"
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            reason = "is a device, not a file"
        elif member.flag_bits & 0x41:
            reason = "is encrypted"
        elif path in members:
            reason = "is there twice"
        if reason:
            raise IntakeError(
                f"“{short(name)}” in the zip {reason}, so nothing was taken.", "Make a zip of plain files, without a password."
            )
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
        raise IntakeError(f"This is not a zip archive, or it is truncated or damaged: {error}.", "Create the zip again.") from error
    with opened:
        members = _checked_members(opened, max_files, limit)
        needed, room = sum(member.file_size for _, member in members.values()), _room(into)
        if needed > room:
            sizes = f"The zip unpacks to {formats.size(needed)}, and the disk of {into} has {formats.size(room)} left."
            raise IntakeError(sizes, "Free some disk space first.")
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
        raise IntakeError(f"“{short(name)}” in the zip is damaged: {error}.", "Create the zip again.") from error


def _too_much(name: str) -> IntakeError:
    return IntakeError(
        f"The zip unpacks to far more than a zip of its size should, at “{short(name)}”, so nothing was taken.",
        "If that is right, unpack it yourself and register the folder by its path.",
    )


def _room(folder: Path) -> int:
    """Bytes free on the disk that `folder` is, or will be, on."""
    return shutil.disk_usage(next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())).free
