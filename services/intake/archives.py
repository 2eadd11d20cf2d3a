"""Archives (zip, tar, tar.gz, tar.zst), unpacked below a folder: all of it, or nothing. Hostile until looked at; nothing is executed."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, Self

from backports import zstd

from services import formats
from services.errors import IntakeError
from services.file_names import junk_kind, safe_relative_path, short
from services.formats import counted
from services.intake.uploads import all_or_nothing
from services.storage.file_tree import reading, stat_of

_CHUNK = 1 << 20
_SMALL_ENOUGH = 1 << 20  # an archive that unpacks to less can't be a bomb
_LONGEST_HEADER = 1 << 20  # bytes in a tar between two files; long names take a few hundred
_HEADERS = 4 << 30  # bytes of all of them
_ENDINGS = (".zip", ".zipx", ".tar", ".tar.gz", ".tgz", ".taz", ".tar.zst", ".tar.zstd", ".tzst")
_OTHER_ENDINGS = (
    ".7z", ".rar", ".cab", ".tar.bz2", ".tar.bz", ".tbz2", ".tbz", ".tb2", ".tz2", ".tar.xz", ".txz", ".tar.lz", ".tlz", ".tar.lz4",
    ".tar.lzma", ".tar.lzo", ".tar.br", ".tar.z", ".zip.001", ".7z.001", ".tar.001", ".tar.gz.001", ".z01",
)  # fmt: skip
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zstd.ZstdError, EOFError, ValueError, OverflowError, RecursionError, MemoryError, struct.error,
    zlib.error, lzma.LZMAError, OSError,
)  # fmt: skip
_REMAKE = "Create the archive again."


@dataclass(frozen=True)
class Unpacked:
    """What came out of an archive: the number of files, how many were left out by their kind (`._*`), and what a person should know."""

    file_count: int
    left_out: Counter[str]
    notes: tuple[str, ...] = ()


def is_archive(path: Path) -> bool:
    """Whether a file is one to unpack, by its name: many a document is a zip too. Raises IntakeError for a kind that can't be unpacked."""
    name = path.name.lower()
    if name.endswith(_OTHER_ENDINGS) and path.is_file():
        hint = "Make it a zip, tar, tar.gz or tar.zst; or register it as one item, by --keep-archive."
        raise IntakeError(f"“{short(path.name)}” is an archive of a kind that can't be unpacked here.", hint)
    return name.endswith(_ENDINGS) and path.is_file()


def extract_archive(
    archive: Path | BinaryIO, into: Path, *, max_files: int = 1_000_000, max_bytes: int = 50 * 2**30, max_ratio: int = 200
) -> Unpacked:
    """Unpack an archive's files below `into`, all of them or none. What it is, its content tells. Junk such as `__MACOSX/` is left out.

    Refuses names that lead elsewhere, links, devices, encrypted members, two files of one name, a damaged archive or half of one, and one
    that unpacks to more than `max_bytes`, more than the disk has room for, or more than `max_ratio` times its own size (1 MiB always
    passes). Bytes are counted as they are written: what the archive says of itself may only refuse it earlier. Raises IntakeError,
    NotFound.
    """
    if isinstance(archive, Path):
        if stat.S_ISDIR(stat_of(archive).st_mode):
            raise IntakeError(f"“{short(archive.name)}” is a folder, not an archive.", "Register the folder by its path.")
        with reading(archive) as source:
            return extract_archive(source, into, max_files=max_files, max_bytes=max_bytes, max_ratio=max_ratio)
    limit = min(max_bytes, max(_SMALL_ENOUGH, max_ratio * archive.seek(0, os.SEEK_END)))
    archive.seek(0)
    with closing(_opened(archive, limit)) as opened:
        opened.check(max_files, into)
        count = 0
        with all_or_nothing(into) as create:
            for name, path, chunks in opened.files():
                count += 1
                if count > max_files:
                    raise IntakeError(
                        f"The {opened.kind} holds more than {max_files:,} files.", "Unpack it and register its folder by path."
                    )
                with create(name, path) as target:
                    for chunk in chunks:
                        limit -= len(chunk)
                        if limit < 0:
                            raise _too_much(name, opened.kind)
                        target.write(chunk)
            if not count:
                raise IntakeError(f"The {opened.kind} holds no files to score.", "Choose one with the files to score.")
        return Unpacked(count, Counter(opened.left_out.values()), opened.notes())


class _Archive(Protocol):
    """An archive being read. `left_out` has the path of what is left out, and its kind; it is complete once the files were read."""

    kind: str
    left_out: dict[str, str]

    def check(self, max_files: int, into: Path) -> None:
        """Refuse at once what the archive's own list tells."""

    def files(self) -> Iterator[tuple[str, PurePosixPath, Iterator[bytes]]]:
        """Each file's name, its checked path, and its bytes."""

    def notes(self) -> tuple[str, ...]:
        """What a person should know."""

    def close(self) -> None: ...


def _opened(source: BinaryIO, limit: int) -> _Archive:
    head = source.read(512)
    source.seek(0)
    if head.startswith(b"PK"):
        return _Zip(source, limit)
    if head.startswith(b"\x1f\x8b"):
        return _Tar(gzip.GzipFile(fileobj=source), limit)
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):  # a frame, or one to skip
        return _Tar(zstd.ZstdFile(source), limit)
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        message = "This is not an archive (zip, tar, tar.gz or tar.zst), or it is truncated or damaged."
        raise IntakeError(message, _REMAKE) from error
    return _Tar(source, limit)


def _path(name: str, kind: str, reason: str | None, left_out: dict[str, str]) -> PurePosixPath | None:
    """Where a file of this name belongs; None where it is left out, which is noted. Raises IntakeError, for `reason` too."""
    path = safe_relative_path(name)
    if reason:
        hint = "Make the archive of plain files, without a password."
        raise IntakeError(f"“{short(name)}” in the {kind} {reason}, so nothing was taken.", hint)
    for depth, part in enumerate(path.parts, 1):
        if junk := junk_kind(part):
            is_folder = depth < len(path.parts) or name.endswith("/")
            left_out["/".join(path.parts[:depth])] = f"{junk}/" if is_folder else junk
            return None
    return path


def _too_much(name: str, kind: str) -> IntakeError:
    return IntakeError(
        f"The {kind} unpacks to far more than a {kind} of its size should, at “{short(name)}”, so nothing was taken.",
        "If that is right, unpack it yourself and register the folder by its path.",
    )


def _damaged(name: str, kind: str, error: BaseException) -> IntakeError:
    reason = str(error) or type(error).__name__
    return IntakeError(f"“{short(name)}” in the {kind} is truncated or damaged: {reason}.", _REMAKE)


def _room(folder: Path) -> int:
    """Bytes free on the disk that `folder` is, or will be, on."""
    return shutil.disk_usage(next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())).free


# ---- zip -------------------------------------------------------------------------------------------------------------------------


class _Zip:
    kind = "zip"

    def __init__(self, source: BinaryIO, limit: int) -> None:
        self.left_out: dict[str, str] = {}
        self._limit = limit
        self._members: dict[PurePosixPath, tuple[str, zipfile.ZipInfo]] = {}
        self._legacy: list[str] = []
        try:
            self._archive = zipfile.ZipFile(source)
        except (*_DAMAGED, NotImplementedError) as error:
            raise IntakeError(f"This is not a zip archive, or it is truncated or damaged: {error}.", _REMAKE) from error

    def check(self, max_files: int, into: Path) -> None:
        left = self._limit
        for member in self._archive.infolist():
            name, legacy = _member_name(member)
            mode = member.external_attr >> 16
            reason = None
            if stat.S_ISLNK(mode):
                reason = "is a link"
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                reason = "is a device, not a file"
            elif member.flag_bits & 0x41:
                reason = "is encrypted"
            elif safe_relative_path(name) in self._members:
                reason = "is there twice"
            path = _path(name, self.kind, reason, self.left_out)
            if path is None or name.endswith("/"):
                continue
            self._members[path] = name, member
            if legacy:
                self._legacy.append(name)
            left -= member.file_size
            if left < 0:
                raise _too_much(name, self.kind)
        if len(self._members) > max_files:
            text = f"The zip holds {counted(len(self._members), 'file')}, more than {max_files:,}."
            raise IntakeError(text, "Unpack it and register its folder by path.")
        needed, room = sum(member.file_size for _, member in self._members.values()), _room(into)
        if needed > room:
            sizes = f"The zip unpacks to {formats.size(needed)}, and the disk of {into} has {formats.size(room)} left."
            raise IntakeError(sizes, "Free some disk space first.")

    def files(self) -> Iterator[tuple[str, PurePosixPath, Iterator[bytes]]]:
        for path, (name, member) in self._members.items():
            yield name, path, self._chunks(name, member)

    def _chunks(self, name: str, member: zipfile.ZipInfo) -> Iterator[bytes]:
        """A member's bytes. Raises IntakeError where it is damaged, or packed in a way that Python can't unpack."""
        try:
            with self._archive.open(member) as source:
                while chunk := source.read(_CHUNK):
                    yield chunk
        except NotImplementedError as error:
            text = f"“{short(name)}” in the zip can't be unpacked here: {error}."
            raise IntakeError(text, "Make the zip with the usual deflate.") from error
        except _DAMAGED as error:
            raise _damaged(name, self.kind, error) from error

    def notes(self) -> tuple[str, ...]:
        if not self._legacy:
            return ()
        names = counted(len(self._legacy), "file name")
        text = f"{names} in the zip may be garbled, such as “{short(self._legacy[0])}”: the zip does not say how they are encoded."
        return (f"{text} Make it again with UTF-8 names, for example by 7-Zip, if they matter.",)

    def close(self) -> None:
        self._archive.close()


def _member_name(member: zipfile.ZipInfo) -> tuple[str, bool]:
    """A member's name with `/` between folders, as its maker meant it; and whether that is a guess."""
    name, guessed = member.orig_filename, False
    if not member.flag_bits & 0x800:
        raw = name.encode("cp437")
        if unicode_path := _unicode_path(member.extra, raw):
            name = unicode_path
        else:
            try:  # macOS writes UTF-8 without saying so, and zipfile then reads it as cp437
                name = raw.decode("utf-8")
            except UnicodeDecodeError:
                guessed = True
    if member.create_system == 0:  # older Windows tools write backslashes
        # In Shift-JIS, GBK and Big5 a backslash may be the second half of a letter, whose first half is no ASCII.
        name = re.sub(r"(?<![^\x00-\x7f])\\", "/", name) if guessed else name.replace("\\", "/")
    return name, guessed


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """The name in a member's Info-ZIP Unicode Path field (APPNOTE 4.6.9), if it is of the same name as `raw`, the one beside it."""
    while len(extra) >= 4:
        field_id, size = struct.unpack_from("<HH", extra)
        content, extra = extra[4 : 4 + size], extra[4 + size :]
        if field_id == 0x7075 and content[:1] == b"\x01" and content[1:5] == zlib.crc32(raw).to_bytes(4, "little"):
            with suppress(UnicodeDecodeError):
                return content[5:].decode("utf-8") or None
    return None


# ---- tar -------------------------------------------------------------------------------------------------------------------------


class _TarStream(io.RawIOBase):
    """A tar's bytes as tarfile asks for them, few of them for headers: those it keeps in memory."""

    def __init__(self, source: BinaryIO | gzip.GzipFile | zstd.ZstdFile, limit: int) -> None:
        self._source = source
        self._left = limit + _HEADERS
        self._header_left: int | None = None

    def expect_header(self, expected: bool) -> None:
        self._header_left = _LONGEST_HEADER if expected else None

    def read(self, size: int = -1) -> bytes:
        chunk = self._source.read(size)
        self._left -= len(chunk)
        if self._header_left is not None:
            self._header_left -= len(chunk)
        if self._left < 0 or (self._header_left or 0) < 0:
            raise tarfile.ReadError("it holds more than files")
        return chunk


class _Member(tarfile.TarInfo):
    """Where tarfile takes a header that is none, or none at all, for the end of the archive, this is an error."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined] # what really ends it
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


class _Tar:
    kind = "tar"

    def __init__(self, source: BinaryIO | gzip.GzipFile | zstd.ZstdFile, limit: int) -> None:
        self.left_out: dict[str, str] = {}
        self._stream = _TarStream(source, limit)

    def check(self, max_files: int, into: Path) -> None:
        """A tar has no list."""

    def files(self) -> Iterator[tuple[str, PurePosixPath, Iterator[bytes]]]:
        after = ""
        try:
            self._stream.expect_header(True)
            with tarfile.open(fileobj=self._stream, mode="r|", tarinfo=_Member, encoding="utf-8", errors="surrogateescape") as archive:
                while member := archive.next():
                    self._stream.expect_header(False)
                    archive.members.clear()  # type: ignore[attr-defined] # tarfile keeps them all
                    after = f" after “{short(member.name)}”"
                    if path := self._checked(member):
                        yield member.name, path, self._chunks(archive, member)
                    else:
                        deque(self._chunks(archive, member), maxlen=0)
                    self._stream.expect_header(True)
                self._stream.expect_header(False)
                goes_on = False
                while rest := archive.fileobj.read(_CHUNK):  # type: ignore[union-attr] # to the end, where a checksum may stand
                    goes_on |= rest.count(0) < len(rest)
        except _DAMAGED as error:
            raise IntakeError(f"The tar is truncated or damaged{after}: {error or type(error).__name__}.", _REMAKE) from error
        if goes_on:
            raise IntakeError(
                f"The tar goes on after its end{after}: it may be several in one file.", "Unpack it, and register the folder."
            )

    def _checked(self, member: tarfile.TarInfo) -> PurePosixPath | None:
        reason = None
        if member.issym() or member.islnk():
            reason = "is a link"
        elif member.issparse():
            reason = "is a sparse file"
        elif not (member.isreg() or member.isdir()):
            reason = "is a device, not a file"
        if member.isdir() and not PurePosixPath(member.name).parts:  # `./`, with which many begin
            return None
        path = _path(f"{member.name}/" if member.isdir() else member.name, self.kind, reason, self.left_out)
        return None if member.isdir() else path

    def _chunks(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
        content = archive.extractfile(member) if member.isreg() else None
        if content is None:
            return
        try:
            left = member.size
            while left:
                chunk = content.read(min(_CHUNK, left))
                if not chunk:
                    raise EOFError("it is truncated")
                left -= len(chunk)
                yield chunk
        except _DAMAGED as error:
            raise _damaged(member.name, self.kind, error) from error

    def notes(self) -> tuple[str, ...]:
        return ()

    def close(self) -> None:
        """Nothing of its own is open."""
