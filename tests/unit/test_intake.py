"""What comes in from outside: names, uploads, folders of files."""

import io
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.domain import Dataset, DatasetFile
from services.errors import IntakeError, NotFound, SettingsError
from services.file_names import check_name, safe_relative_path
from services.intake.datasets import collect_files
from services.intake.uploads import store_uploads

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


def test_a_file_in_five_thousand_folders_is_refused_in_words():
    with pytest.raises(IntakeError, match="is in more than 100 folders, one in the other"):
        safe_relative_path("a/" * 5_000 + "b.csv")
    assert safe_relative_path("a/" * 99 + "b.csv")


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


JUNK = {
    ".DS_Store": ".DS_Store", "a/Thumbs.db": "Thumbs.db", "a/thumbs.db": "thumbs.db", "b/desktop.ini": "desktop.ini",
    "~$book.xlsx": "~$*", "._a.csv": "._*", "a/._b.csv": "._*", ".~lock.orders.ods#": ".~lock.*#",
    ".ipynb_checkpoints/a.csv": ".ipynb_checkpoints/", "__MACOSX/x": "__MACOSX/", "__MACOSX/y": "__MACOSX/", "a/@eaDir/x": "@eaDir/",
    "b/@eaDir/x/y": "@eaDir/", ".Trashes/501/a.csv": ".Trashes/", "$RECYCLE.BIN/a.csv": "$RECYCLE.BIN/",
    ".Trash-1000/files/a.csv": ".Trash-*/", ".nfs00000000a1b2c3d400000001": ".nfs*", ".fuse_hidden0000a1b200000001": ".fuse_hidden*",
    ".DocumentRevisions-V100/a": ".DocumentRevisions-V100/", "Icon\r": "Icon\r", "#recycle/a.csv": "#recycle/",
    "lost+found/#1": "lost+found/",
}  # fmt: skip
"""Names of junk, and the kind it is counted as."""
LEFT_OUT = Counter(dict.fromkeys(JUNK.values(), 1)) + Counter({"._*": 1, "@eaDir/": 1})


def test_junk_is_left_out_and_counted_and_other_hidden_files_are_not(tmp_path):
    made(tmp_path, ".hidden.csv", ".data/a.csv", "_a.csv", ".~lock.csv", "~a.csv", "._", ".nfs.csv", "Icon", "recycle", *JUNK)
    left_out: Counter[str] = Counter()
    assert [file.path for file in collect_files(tmp_path, "**", left_out)] == [
        "._", ".data/a.csv", ".hidden.csv", ".nfs.csv", ".~lock.csv", "Icon", "_a.csv", "recycle", "~a.csv",
    ]  # fmt: skip
    assert left_out == LEFT_OUT


def test_a_file_that_a_pattern_leaves_out_is_not_counted_as_left_out(tmp_path):
    made(tmp_path, "a.csv", ".DS_Store", "._a.csv", "sub/._b.csv")
    left_out: Counter[str] = Counter()
    assert [file.path for file in collect_files(tmp_path, "*.csv", left_out)] == ["a.csv"]
    assert left_out == {"._*": 1}


def test_a_folder_of_nothing_but_junk_says_what_it_left_out(tmp_path):
    made(tmp_path, ".DS_Store", "._a.csv", "._b.csv")
    with pytest.raises(IntakeError, match=r"holds no files; 3 left out \(.*\._\*"):
        paths(tmp_path)


def test_of_tables_what_spark_writes_beside_them_is_left_out(tmp_path):
    spark = ["_SUCCESS", "._SUCCESS.crc", ".part-0.parquet.crc", "_temporary/0/part-1.parquet", ".hive/part-1.parquet", "_committed_7"]
    made(tmp_path, "part-0.parquet", "_store=1/part-2.parquet", *spark)
    left_out: Counter[str] = Counter()
    found = [file.path for file in collect_files(tmp_path, "**", left_out, hidden=False)]
    assert found == ["_store=1/part-2.parquet", "part-0.parquet"]
    assert left_out == {"_*": 2, "._*": 1, ".*": 1, "_*/": 1, ".*/": 1}


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path):
    made(tmp_path, "elsewhere/real.csv", "root/a.csv")
    (tmp_path / "root" / "link.csv").symlink_to(tmp_path / "elsewhere" / "real.csv")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root")
    left_out: Counter[str] = Counter()
    assert [file.path for file in collect_files(tmp_path / "root", "**", left_out)] == ["a.csv", "link.csv"]
    assert left_out == {Dataset.LINKED_FOLDERS: 1}


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
