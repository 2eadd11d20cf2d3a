"""What comes in from outside: names, uploads, zips, folders of files, entry scripts."""

import io
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.domain import DatasetFile
from services.errors import IntakeError, NotFound, SettingsError
from services.file_names import check_name, safe_relative_path
from services.intake.datasets import collect_files
from services.intake.uploads import extract_zip, store_uploads

ODD_NAMES = [
    "cam_10:15.png", "a,b.csv", 'say "hi".csv', "it's.csv", "=cmd|' /C calc'!A0.csv", "two\nlines.csv", "a b.csv", "#1.csv", "🙂.csv",
    "-rf", "**bold**.csv", "<b>.csv", "\ttab.csv", "...", "a..b", "é.csv", "sub/=1+1.csv", "c:d.csv", " ", "%2e%2e", "back\\slash.csv",
]  # fmt: skip
LEADING_OUT = ["../x.csv", "a/../../x.csv", "..", "..\\x.csv", "a\\..\\..\\x.csv", "a/.."]
ABSOLUTE = ["/etc/passwd", "//server/share", "C:/x.csv", "c:\\x.csv", "C:", "\\\\server\\share", "\\x"]
NO_NAMES = ["", ".", "./", "a\0b", "x" * 256, "é" * 128]


def found_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- names -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "7", "digits-classifier", "My_Model.v2", "x" * 255, "CONsole"])
def test_names_that_azure_accepts_are_accepted_as_they_are(name):
    assert check_name("name", name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "-a", "_a", ".a", "a b", "a/b", "a:1", "é", "a\n", "x" * 256, "a\\b", "٣", "a\0", "CON", "nul.v2", "x."]
)
def test_other_names_are_refused_at_their_field(name):
    with pytest.raises(SettingsError) as caught:
        check_name("model_name", name)
    assert caught.value.field == "model_name"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_file_names_that_are_only_odd_come_through_unharmed(name):
    assert str(safe_relative_path(name)) == name


@pytest.mark.parametrize("name", LEADING_OUT + ABSOLUTE + NO_NAMES)
def test_file_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(IntakeError):
        safe_relative_path(name)


# ---- uploads ---------------------------------------------------------------------------------------------------------------------


def test_uploads_are_stored_under_their_names_with_their_folders(tmp_path):
    files = {name: name.encode() for name in ODD_NAMES}
    already_read = {name: io.BytesIO(content) for name, content in files.items()}
    already_read["a b.csv"].read()
    assert store_uploads(already_read.items(), tmp_path / "new" / "folder") == len(files)
    assert found_in(tmp_path / "new" / "folder") == files


@pytest.mark.parametrize("name", ["../../etc/x.csv", "/etc/x.csv", "a.csv", "./a.csv", "a.csv/b.csv", "sub"])
def test_a_refused_upload_refuses_all_and_changes_nothing(tmp_path, name):
    into = tmp_path / "into"
    into.mkdir()
    (into / "kept").write_bytes(b"kept")
    uploads = [("a.csv", io.BytesIO(b"1")), ("sub/b.csv", io.BytesIO(b"2")), (name, io.BytesIO(b"3"))]
    with pytest.raises(IntakeError) as caught:
        store_uploads(uploads, into)
    assert name in caught.value.message
    assert found_in(into) == {"kept": b"kept"}
    assert os.listdir(into) == ["kept"]
    assert os.listdir(tmp_path) == ["into"]


def test_names_that_differ_in_case_only_are_two_files(tmp_path):
    assert store_uploads([("a.CSV", io.BytesIO(b"1")), ("A.csv", io.BytesIO(b"2"))], tmp_path) == 2


def test_a_file_of_the_same_name_that_was_there_is_not_written_over(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(IntakeError, match="“a”"):
        store_uploads([("a", io.BytesIO(b"new"))], tmp_path)
    assert (tmp_path / "a").read_bytes() == b"old"


def test_an_upload_that_breaks_off_leaves_nothing_behind(tmp_path):
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_uploads([("a/b", io.BytesIO(b"1")), ("c", Broken())], tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(IntakeError, match="file"):
        store_uploads([("a", io.BytesIO(b"1"))], tmp_path / "file" / "into")


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
        extract_zip(archive, into, **limits)
    assert not into.exists()
    return caught.value.message


def test_a_zip_is_unpacked_with_its_folders_and_without_junk(tmp_path):
    files = {name: name.encode() * 99 for name in ODD_NAMES}
    junk = [("__MACOSX/._a", b"x"), ("sub/.DS_Store", b"x"), ("Thumbs.db", b"x"), ("sub/", b""), ("empty folder/", b"")]
    path = zipped(tmp_path / "a.zip", *files.items(), *junk)
    assert extract_zip(path, tmp_path / "into") == len(files)
    assert found_in(tmp_path / "into") == files
    assert extract_zip(io.BytesIO(path.read_bytes()), tmp_path / "again") == len(files)


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
    for content in (b"", b"a,b\n1,2\n", whole[:-30], whole[: len(whole) // 2], whole[2000:]):
        assert "zip" in refused(io.BytesIO(content), tmp_path / "into")
    with pytest.raises(NotFound, match=r"gone\.zip"):
        extract_zip(tmp_path / "gone.zip", tmp_path / "into")
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
    assert extract_zip(fine, tmp_path / "into") == 1


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
    assert extract_zip(path, tmp_path / "into", max_files=10, max_bytes=50) == 10


def test_a_zip_without_files_is_refused(tmp_path):
    assert "no files" in refused(zipped(tmp_path / "a.zip", ("folder/", b""), (".DS_Store", b"x")), tmp_path / "into")


def test_backslashes_separate_folders_in_a_zip_of_an_old_windows_tool_only(tmp_path):
    extract_zip(zipped(tmp_path / "a.zip", (member("sub\\a.csv", system=0), b"1")), tmp_path / "windows")
    assert found_in(tmp_path / "windows") == {"sub/a.csv": b"1"}
    extract_zip(zipped(tmp_path / "b.zip", (member("sub\\a.csv"), b"1")), tmp_path / "unix")
    assert found_in(tmp_path / "unix") == {"sub\\a.csv": b"1"}


def test_names_in_utf8_that_macos_does_not_flag_are_read_as_utf8(tmp_path):
    content = zipped(tmp_path / "a.zip", ("xxxx.csv", b"1")).read_bytes().replace(b"xxxx", "🙂".encode())
    extract_zip(io.BytesIO(content), tmp_path / "into")
    assert found_in(tmp_path / "into") == {"🙂.csv": b"1"}


# ---- folders ---------------------------------------------------------------------------------------------------------------------


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def paths(root: Path, glob: str = "**") -> list[str]:
    return [file.path for file in collect_files(root, glob)]


TREE = ("b.csv", "a/x.csv", "a.csv", "a/b/y.csv", "a!.csv", "a/notes.txt", "C.CSV", "a0.csv", "a/b.csv")


def test_files_are_sorted_by_their_whole_relative_path(tmp_path):
    assert paths(made(tmp_path, *TREE)) == sorted(TREE)


@pytest.mark.parametrize(
    ("glob", "matching"),
    [
        ("**", set(TREE)),
        ("**/*", set(TREE)),
        ("*.csv", {"b.csv", "a.csv", "a!.csv", "a0.csv"}),
        ("**/*.csv", set(TREE) - {"a/notes.txt", "C.CSV"}),
        ("a/**", {"a/x.csv", "a/b/y.csv", "a/notes.txt", "a/b.csv"}),
        ("a/", {"a/x.csv", "a/b/y.csv", "a/notes.txt", "a/b.csv"}),
        ("a/*", {"a/x.csv", "a/notes.txt", "a/b.csv"}),
        ("./a/*.csv", {"a/x.csv", "a/b.csv"}),
        ("**/b/*", {"a/b/y.csv"}),
        ("**/a/**/*.csv", {"a/x.csv", "a/b/y.csv", "a/b.csv"}),
        ("?.csv", {"b.csv", "a.csv"}),
        ("[!a].csv", {"b.csv"}),
        ("[ab]*.csv", {"b.csv", "a.csv", "a!.csv", "a0.csv"}),
        ("a[0-9].csv", {"a0.csv"}),
        ("a?x.csv", set()),
        ("a[!b]x.csv", set()),
        ("a*x.csv", set()),
        ("[a", set()),
        ("[z-a].csv", set()),
    ],
)
def test_globs_match_as_documented(tmp_path, glob, matching):
    made(tmp_path, *TREE)
    if matching:
        assert set(paths(tmp_path, glob)) == matching
    else:
        with pytest.raises(IntakeError, match="holds 9 files, none of which matches"):
            paths(tmp_path, glob)


@pytest.mark.parametrize("glob", ["", "/etc/*", "../*", "a/../*", "."])
def test_globs_that_are_none_are_refused_at_their_field(tmp_path, glob):
    with pytest.raises(SettingsError) as caught:
        paths(made(tmp_path, "a"), glob)
    assert caught.value.field == "glob"


def test_a_glob_of_many_stars_does_not_run_for_ever(tmp_path):
    with pytest.raises(IntakeError):
        paths(made(tmp_path, "a" * 250), "*a" * 60 + "b")


def test_size_and_modification_time_are_those_of_the_file(tmp_path):
    made(tmp_path, "sub/a.csv")
    os.utime(tmp_path / "sub" / "a.csv", ns=(1, 1_700_000_000_123_456_789))
    assert list(collect_files(tmp_path, "**")) == [DatasetFile("sub/a.csv", 9, 1_700_000_000_123_456_789)]


def test_a_single_file_is_a_dataset_of_one(tmp_path):
    made(tmp_path, "=a:b.txt")
    assert paths(tmp_path / "=a:b.txt", "*.csv") == ["=a:b.txt"]


def test_odd_names_come_through_even_those_that_are_no_utf8(tmp_path):
    made(tmp_path, *ODD_NAMES)
    with open(os.fsencode(tmp_path) + b"/caf\xe9.csv", "wb"):
        pass
    assert set(paths(tmp_path)) == {*ODD_NAMES, "caf\udce9.csv"}


def test_junk_files_are_left_out_and_other_hidden_files_are_not(tmp_path):
    junk = [".DS_Store", "a/Thumbs.db", "~$book.xlsx", ".ipynb_checkpoints/a.csv", "__MACOSX/x"]
    made(tmp_path, ".hidden.csv", ".data/a.csv", *junk)
    assert paths(tmp_path) == [".data/a.csv", ".hidden.csv"]


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path):
    made(tmp_path, "elsewhere/real.csv", "root/a.csv")
    (tmp_path / "root" / "link.csv").symlink_to(tmp_path / "elsewhere" / "real.csv")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root")
    assert paths(tmp_path / "root") == ["a.csv", "link.csv"]


@contextmanager
def without_privileges() -> Iterator[Path]:
    """A folder, and a user who isn't root, for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield_as = os.geteuid()
        try:
            if yield_as == 0:
                os.chown(folder, 65534, -1)
                os.seteuid(65534)
            yield Path(folder)
        finally:
            os.seteuid(yield_as)


@pytest.mark.parametrize("closed", ["b.csv", "sub", "."])
def test_a_file_or_folder_that_may_not_be_read_is_named(closed):
    with without_privileges() as root:
        made(root, "a.csv", "b.csv", "sub/c.csv")
        os.chmod(root / closed, 0)
        with pytest.raises(IntakeError) as caught:
            paths(root)
        os.chmod(root / closed, 0o755)
    assert (root.name if closed == "." else closed) in caught.value.message


def test_a_single_file_that_may_not_be_read_is_named():
    with without_privileges() as root:
        os.chmod(made(root, "a.csv") / "a.csv", 0)
        with pytest.raises(IntakeError, match=r"a\.csv"):
            paths(root / "a.csv")


def test_what_is_no_plain_file_is_named_and_a_pattern_can_leave_it_out(tmp_path):
    made(tmp_path, "a.csv")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(IntakeError, match=r"gone\.txt"):
        paths(tmp_path)
    os.mkfifo(tmp_path / "apipe")
    with pytest.raises(IntakeError, match="apipe"):
        paths(tmp_path)
    assert paths(tmp_path, "*.csv") == ["a.csv"]


def test_an_empty_folder_and_a_missing_one_are_refused(tmp_path):
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    with pytest.raises(IntakeError, match="holds no files"):
        paths(tmp_path / "empty")
    with pytest.raises(NotFound, match="gone"):
        paths(tmp_path / "gone")
