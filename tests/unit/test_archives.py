"""Archives: unpacked whole or not at all, whatever is in them."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from services.errors import IntakeError, NotFound
from services.intake.archives import extract_archive, is_archive
from tests.unit.test_intake import ABSOLUTE, JUNK, LEADING_OUT, LEFT_OUT, ODD_NAMES, found_in

# ---- zips ------------------------------------------------------------------------------------------------------------------------


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def member(name: str, mode: int = 0, system: int = 3) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr, info.create_system = mode << 16, system
    return info


def refused(archive: Path | io.BytesIO, into: Path, **limits: int) -> str:
    """The message of the refusal; that nothing was left behind is checked."""
    with pytest.raises(IntakeError) as caught:
        extract_archive(archive, into, **limits)
    assert not into.exists()
    return caught.value.message


def test_a_zip_is_unpacked_with_its_folders_and_without_junk(tmp_path):
    files = {name: name.encode() * 99 for name in ODD_NAMES}
    others = [("sub/", b""), ("empty folder/", b""), ("__MACOSX/", b""), *((name, b"x") for name in JUNK)]
    path = zipped(tmp_path / "a.zip", *files.items(), *others)
    unpacked = extract_archive(path, tmp_path / "into")
    assert (unpacked.file_count, unpacked.left_out, unpacked.notes) == (len(files), LEFT_OUT, ())
    assert found_in(tmp_path / "into") == files
    assert extract_archive(io.BytesIO(path.read_bytes()), tmp_path / "again").file_count == len(files)


@pytest.mark.parametrize("name", [name for name in LEADING_OUT + ABSOLUTE if name])
def test_a_zip_with_names_that_lead_elsewhere_is_refused(tmp_path, name):
    message = refused(zipped(tmp_path / "a.zip", ("fine.csv", b"1"), (name, b"2")), tmp_path / "into")
    assert name in message
    assert sorted(os.listdir(tmp_path)) == ["a.zip"]


def test_a_zip_with_a_nul_in_a_name_is_refused(tmp_path):
    content = zipped(tmp_path / "a.zip", ("aXb.csv", b"1")).read_bytes().replace(b"aXb", b"a\0b")
    assert "NUL" in refused(io.BytesIO(content), tmp_path / "into")


@pytest.mark.parametrize(
    ("mode", "why"), [(stat.S_IFLNK | 0o777, "link"), (stat.S_IFCHR | 0o666, "device"), (stat.S_IFIFO | 0o666, "device")]
)
def test_a_zip_with_links_or_devices_is_refused(tmp_path, mode, why):
    message = refused(zipped(tmp_path / "a.zip", ("fine", b"1"), (member("passwords", mode), b"/etc/passwd")), tmp_path / "into")
    assert "passwords" in message
    assert why in message


def test_a_zip_with_one_name_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = zipped(tmp_path / "a.zip", ("a.csv", b"1"), ("a.csv", b"2"))
    assert "a.csv" in refused(path, tmp_path / "into")
    assert "a.csv" in refused(zipped(tmp_path / "b.zip", ("a.csv", b"1"), ("./a.csv", b"2")), tmp_path / "into")
    assert "a.csv" in refused(zipped(tmp_path / "c.zip", ("a.csv", b"1"), ("a.csv/b", b"2")), tmp_path / "into")


def test_an_encrypted_zip_is_refused(tmp_path):
    content = bytearray(zipped(tmp_path / "a.zip", ("secret.csv", b"1")).read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    assert "“secret.csv” in the zip is encrypted" in refused(io.BytesIO(bytes(content)), tmp_path / "into")


def test_what_is_no_zip_or_only_part_of_one_is_refused(tmp_path):
    whole = zipped(tmp_path / "a.zip", ("a.csv", os.urandom(5000))).read_bytes()
    for content in (b"", b"a,b\n1,2\n", b"PK", whole[:-30], whole[: len(whole) // 2], whole[2000:]):
        assert "zip" in refused(io.BytesIO(content), tmp_path / "into")
    with pytest.raises(NotFound, match=r"gone\.zip"):
        extract_archive(tmp_path / "gone.zip", tmp_path / "into")
    assert "folder" in refused(tmp_path, tmp_path / "into")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_with_a_damaged_member_is_refused_by_its_name(tmp_path, compression):
    content = os.urandom(4000)
    path = zipped(tmp_path / "a.zip", ("fine.csv", b"1"), ("broken.csv", content), compression=compression)
    damaged = bytearray(path.read_bytes())
    start = damaged.index(b"broken.csv") + 1000
    damaged[start : start + 500] = bytes(500)
    assert "broken.csv" in refused(io.BytesIO(bytes(damaged)), tmp_path / "into")


def test_a_zip_bomb_is_refused_but_small_repetitive_files_pass(tmp_path):
    bomb = zipped(tmp_path / "bomb.zip", ("fine.csv", b"1"), ("zeros.csv", bytes(20_000_000)))
    assert bomb.stat().st_size < 25_000
    assert "zeros.csv" in refused(bomb, tmp_path / "into")
    fine = zipped(tmp_path / "fine.zip", ("ones.csv", b"1,1,1,1\n" * 100_000))
    assert fine.stat().st_size * 200 < 800_000
    assert extract_archive(fine, tmp_path / "into").file_count == 1


def test_a_zip_that_says_it_is_smaller_than_it_is_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.csv", bytes(5_000_000))
        archive.filelist[0].file_size = 10
    assert "zeros.csv" in refused(path, tmp_path / "into")


def test_a_zip_larger_than_the_free_space_is_refused_at_once(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("huge.csv", b"1")
        archive.filelist[0].file_size = 1 << 50
    assert "disk" in refused(path, tmp_path / "into", max_bytes=1 << 60, max_ratio=1 << 50)
    assert "huge.csv" in refused(path, tmp_path / "into")


def test_limits_on_files_and_bytes_hold(tmp_path):
    path = zipped(tmp_path / "a.zip", *((f"{i}.csv", b"12345") for i in range(10)))
    assert "10 files" in refused(path, tmp_path / "into", max_files=9)
    refused(path, tmp_path / "into", max_bytes=49)
    assert extract_archive(path, tmp_path / "into", max_files=10, max_bytes=50).file_count == 10


def test_a_zip_without_files_is_refused(tmp_path):
    assert "no files" in refused(zipped(tmp_path / "a.zip", ("folder/", b""), (".DS_Store", b"x")), tmp_path / "into")


def test_backslashes_separate_folders_in_a_zip_of_an_old_windows_tool_only(tmp_path):
    extract_archive(zipped(tmp_path / "a.zip", (member("sub\\a.csv", system=0), b"1")), tmp_path / "windows")
    assert found_in(tmp_path / "windows") == {"sub/a.csv": b"1"}
    extract_archive(zipped(tmp_path / "b.zip", (member("sub\\a.csv"), b"1")), tmp_path / "unix")
    assert found_in(tmp_path / "unix") == {"sub\\a.csv": b"1"}


def test_names_in_utf8_that_macos_does_not_flag_are_read_as_utf8(tmp_path):
    content = zipped(tmp_path / "a.zip", ("xxxx.csv", b"1")).read_bytes().replace(b"xxxx", "🙂".encode())
    extract_archive(io.BytesIO(content), tmp_path / "into")
    assert found_in(tmp_path / "into") == {"🙂.csv": b"1"}


def test_a_zip_of_five_thousand_nested_folders_is_refused_in_words(tmp_path):
    path = zipped(tmp_path / "a.zip", ("a/" * 5_000 + "b.csv", b"1"))
    assert "is in more than 100 folders" in refused(path, tmp_path / "into")


def legacy_zip(*members: tuple[bytes, bytes, int], extra: bytes = b"") -> io.BytesIO:
    """A zip of stored members, each of a name in any bytes, its content, and the system it was made on; no name is marked as UTF-8."""
    body, listed = b"", b""
    for name, content, system in members:
        size = len(content)
        about = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0, zlib.crc32(content), size, size, len(name), len(extra))
        listed += b"PK\x01\x02" + bytes([20, system]) + about + struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + name + extra
        body += b"PK\x03\x04" + about + name + extra + content
    return io.BytesIO(body + listed + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(listed), len(body), 0))


def unicode_path(name: bytes, unicode_name: bytes) -> bytes:
    content = b"\x01" + zlib.crc32(name).to_bytes(4, "little") + unicode_name
    return struct.pack("<HH", 1, 2) + b"xx" + struct.pack("<HH", 0x7075, len(content)) + content


def test_the_name_in_a_unicode_path_field_is_the_files_name(tmp_path):
    name = "表示.csv".encode("shift-jis")
    unpacked = extract_archive(legacy_zip((name, b"1", 0), extra=unicode_path(name, "表示.csv".encode())), tmp_path / "into")
    assert found_in(tmp_path / "into") == {"表示.csv": b"1"}
    assert unpacked.notes == ()


@pytest.mark.parametrize("field", [unicode_path(b"another name", b"evil.csv"), unicode_path(b"a.csv", b"\xff.csv")])
def test_a_unicode_path_field_of_another_name_or_in_no_utf8_is_passed_over(tmp_path, field):
    extract_archive(legacy_zip((b"a.csv", b"1", 0), extra=field), tmp_path / "into")
    assert found_in(tmp_path / "into") == {"a.csv": b"1"}


def test_a_unicode_path_that_leads_out_is_refused(tmp_path):
    assert "leads out" in refused(legacy_zip((b"a.csv", b"1", 0), extra=unicode_path(b"a.csv", b"../a.csv")), tmp_path / "into")


def test_a_name_in_an_unknown_code_is_kept_whole_and_warned_about(tmp_path):
    names = ["表示.csv".encode("shift-jis"), b"sub\\" + "é.csv".encode("cp850"), b"plain\\a.csv"]
    unpacked = extract_archive(legacy_zip(*((name, b"1", 0) for name in names)), tmp_path / "into")
    found = found_in(tmp_path / "into")
    assert {name for name in found if "/" in name} == {"sub/é.csv", "plain/a.csv"}
    assert names[0].decode("cp437") in found  # 0x5C is the second half of its first letter, no folder
    (note,) = unpacked.notes
    assert note.startswith("2 file names in the zip may be garbled, such as “")


# ---- tars ------------------------------------------------------------------------------------------------------------------------


def zstd_compressed(content: bytes) -> bytes:
    """As the command zstd does it: with a checksum."""
    return zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})


PACK: dict[str, Callable[[bytes], bytes]] = {".tar": bytes, ".tar.gz": gzip.compress, ".tar.zst": zstd_compressed}


def tarred(*members: tuple[str | tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = info.size or len(content)
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return packed.getvalue()


def special(name: str, kind: bytes, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
def test_a_tar_is_unpacked_with_its_folders_and_without_junk(tmp_path, pack, form):
    files = {name: os.fsencode(name) * 999 for name in [*ODD_NAMES, "deep/" * 40 + "a.csv", "caf\udce9.csv"]} | {"empty.csv": b""}
    folders = [(special(name, tarfile.DIRTYPE), b"") for name in ("./", "sub", "__MACOSX")]
    content = {f"./{name}" if name == "empty.csv" else name: value for name, value in files.items()} | dict.fromkeys(JUNK, b"x")
    unpacked = extract_archive(io.BytesIO(pack(tarred(*folders, *content.items(), form=form))), tmp_path / "into")
    assert (unpacked.file_count, unpacked.left_out) == (len(files), LEFT_OUT)
    assert found_in(tmp_path / "into") == files


@pytest.mark.parametrize("name", ["../x.csv", "a/../../x.csv", "/etc/passwd", "C:/x.csv", "a/" * 5_000 + "b"])
def test_a_tar_with_names_that_lead_elsewhere_is_refused(tmp_path, name):
    message = refused(io.BytesIO(tarred(("fine.csv", b"1"), (name, b"2"))), tmp_path / "into")
    assert name[:80] in message
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "why"),
    [(tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "link"), (tarfile.CHRTYPE, "device"), (tarfile.FIFOTYPE, "device")],
)
def test_a_tar_with_links_or_devices_is_refused(tmp_path, kind, why):
    message = refused(io.BytesIO(tarred(("fine.csv", b"1"), (special("odd", kind, "/etc/passwd"), b""))), tmp_path / "into")
    assert "odd" in message
    assert why in message


def test_a_tar_with_one_name_twice_is_refused(tmp_path):
    assert "a.csv" in refused(io.BytesIO(tarred(("a.csv", b"1"), ("./a.csv", b"2"))), tmp_path / "into")


@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
def test_half_a_tar_or_a_damaged_one_is_refused(tmp_path, pack):
    whole = tarred(*((f"{number}.csv", os.urandom(3000)) for number in range(4)))
    packed = pack(whole)
    for cut in (len(packed) // 2, len(packed) // 4, 600):
        assert "truncated" in refused(io.BytesIO(packed[:cut]), tmp_path / "into"), cut
    between = pack(whole[: 2 * (512 + 3072)])  # after the second file, without the end
    assert "The tar is truncated or damaged after “1.csv”" in refused(io.BytesIO(between), tmp_path / "into")
    damaged = bytearray(packed)
    damaged[512 + 3072 : 512 + 3072 + 200] = os.urandom(200)  # of the tar alone, the header of a file; its content has no checksum
    refused(io.BytesIO(bytes(damaged)), tmp_path / "into")


def test_two_tars_in_one_file_are_refused_and_not_read_by_half(tmp_path):
    for content in (b"2", os.urandom(20_000)):
        for padding in (0, 1024, 10_240, 3_000_000):  # as many zeros as a program writes to fill a block of a tape
            both = tarred(("a.csv", b"1")) + bytes(padding) + tarred(("b.csv", content)) + bytes(padding)
            for packed in (both, gzip.compress(both), zstd.compress(both)):
                assert "goes on after its end after “a.csv”" in refused(io.BytesIO(packed), tmp_path / "into")


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_a_tar_bomb_is_refused_by_the_name_of_its_file(tmp_path, pack):
    bomb = pack(tarred(("fine.csv", b"1"), ("zeros.csv", bytes(20_000_000))))
    assert len(bomb) < 30_000
    assert "zeros.csv" in refused(io.BytesIO(bomb), tmp_path / "into")
    fine = pack(tarred(("ones.csv", b"1,1,1,1\n" * 100_000)))
    assert extract_archive(io.BytesIO(fine), tmp_path / "into").file_count == 1


def test_a_name_of_many_megabytes_in_a_tar_is_refused(tmp_path):
    name = tarred((special("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=50_000_000), b""))[:512] + bytes(50_000_000)
    for packed in (gzip.compress(name, 1), zstd.compress(name)):
        assert "it holds more than files" in refused(io.BytesIO(packed), tmp_path / "into")


def test_a_chain_of_ten_thousand_long_names_in_a_tar_is_refused(tmp_path):
    link = tarred((special("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=1), b""))[:512] + b"a".ljust(512, b"\0")
    assert "damaged" in refused(io.BytesIO(link * 10_000), tmp_path / "into")


def test_a_sparse_file_in_a_tar_is_refused(tmp_path):
    info = special("holes.csv", tarfile.GNUTYPE_SPARSE)
    assert "is a sparse file" in refused(io.BytesIO(tarred((info, b""), form=tarfile.GNU_FORMAT)), tmp_path / "into")


def test_limits_on_files_and_bytes_of_a_tar_hold(tmp_path):
    packed = tarred(*((f"{number}.csv", b"12345") for number in range(10)))
    assert "more than 9 files" in refused(io.BytesIO(packed), tmp_path / "into", max_files=9)
    refused(io.BytesIO(packed), tmp_path / "into", max_bytes=49)
    assert extract_archive(io.BytesIO(packed), tmp_path / "into", max_files=10, max_bytes=50).file_count == 10


def test_a_tar_without_files_is_refused(tmp_path):
    packed = tarred((special("folder", tarfile.DIRTYPE), b""), (".DS_Store", b"x"))
    assert "no files" in refused(io.BytesIO(packed), tmp_path / "into")


# ---- which file is an archive ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.zip", "A.ZIP", "a.tar", "a.tar.gz", "a.tgz", "a.tar.zst", "a.tzst", "a.zipx", "a.tar.zstd"])
def test_archives_are_told_by_their_names(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert is_archive(tmp_path / name)


@pytest.mark.parametrize("name", ["a.xlsx", "a.csv", "a.csv.gz", "a.npz", "zip", "gone.zip"])
def test_other_files_are_no_archives_though_some_are_zips(tmp_path, name):
    if name != "gone.zip":
        zipped(tmp_path / name, ("x", b""))
    assert not is_archive(tmp_path / name)


@pytest.mark.parametrize("name", ["a.7z", "a.rar", "a.tar.xz", "a.tar.bz2", "a.tbz", "a.tlz", "a.zip.001", "a.Z01"])
def test_an_archive_of_another_kind_is_refused_with_what_to_do(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(IntakeError, match="is an archive of a kind that can't be unpacked here") as refusal:
        is_archive(tmp_path / name)
    assert "--keep-archive" in refusal.value.hint
