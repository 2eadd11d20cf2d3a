from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
import zipfile
from base64 import b64decode, b64encode

import pyarrow
import pytest
from backports import zstd
from pyarrow import parquet

from services.connection import Connection, SignIn
from tests.broken_files import write_files

pytestmark = pytest.mark.slow  # registers and scores in processes of their own

DATASETS = "registered_datasets.py"
PNG = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def paths_of(workspace, dataset) -> list[str]:
    return [file.path for file in workspace.dataset_files(dataset, 0, 100)]


def open_form(open_page, source: str):
    app = open_page(DATASETS, tab="Register a dataset")
    return app.segmented_control(key="dataset-source-0").set_value(source).run()


def register(app):
    return app.button(key="dataset-submit-0").click().run()


def test_an_empty_workspace_says_what_a_dataset_is(open_page):
    app = open_page(DATASETS)
    assert not app.exception
    assert "No datasets registered yet" in app.info[0].value


def test_uploaded_files_are_registered_once_and_chosen(open_page, workspace):
    app = open_page(DATASETS, tab="Register a dataset")
    for name in ("b.csv", "a, 'quoted'.csv", "=cmd.csv"):
        app.file_uploader(key="dataset-files-0").upload(name, b"1,2\n")
    app.text_input(key="dataset-name-0").set_value("orders")
    register(app)
    assert not app.exception
    (dataset,) = workspace.datasets()
    assert paths_of(workspace, dataset) == ["=cmd.csv", "a, 'quoted'.csv", "b.csv"]
    assert not dataset.in_place
    assert app.selectbox(key="dataset").value == "orders:1"
    assert "Registered" in app.toast[0].value
    assert app.text_input(key="dataset-name-1").value == ""
    with pytest.raises(KeyError):  # the button of a second click
        app.button(key="dataset-submit-0")
    app.run()
    assert len(workspace.datasets()) == 1


def test_an_uploaded_folder_is_the_root_and_gives_the_name(open_page, workspace):
    app = open_form(open_page, "Folder")
    for name in ("my orders/june/1.csv", "my orders/2.csv", "my orders/notes.txt"):
        app.file_uploader(key="dataset-folder-0").upload(name, b"1,2\n")
    app.run()
    assert app.text_input(key="dataset-name-0").placeholder == "my-orders"
    app.text_input(key="dataset-glob-0").set_value("**/*.csv")
    register(app)
    assert not app.exception
    assert not app.error
    assert paths_of(workspace, workspace.datasets()[0]) == ["2.csv", "june/1.csv"]


def test_a_zip_is_unpacked_and_gives_the_name(open_page, workspace):
    app = open_form(open_page, "Archive")
    app.file_uploader(key="dataset-archive-0").upload("june.zip", zipped({"a.csv": b"1\n", "b/c.csv": b"2\n"})).run()
    assert app.text_input(key="dataset-name-0").placeholder == "june"
    register(app)
    assert not app.exception
    assert paths_of(workspace, workspace.dataset("june")) == ["a.csv", "b/c.csv"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({"good.csv": b"1\n", "../outside.csv": b"1\n"}), "leads out of its folder"),
        (zipped({"/outside.csv": b"1\n"}), "is an absolute path"),
        (zipped({}), "holds no files"),
        (b"PK\x03\x04 no zip at all", "not a zip archive"),
    ],
)
def test_a_bad_zip_is_rejected_and_leaves_no_files(open_page, workspace, home, content, message):
    app = open_form(open_page, "Archive")
    app.file_uploader(key="dataset-archive-0").upload("bad.zip", content).run()
    register(app)
    assert message in app.error[0].value.replace("\\", "")
    assert workspace.datasets() == []
    assert list((home / "incoming").iterdir()) == []
    assert list(home.parent.rglob("outside.csv")) == []


def test_an_error_is_hidden_once_its_field_is_corrected(open_page, csv_folder):
    def hidden(app):
        return [error.value for error in app.container(key="corrected-dataset").error]

    app = open_form(open_page, "Folder on this machine")
    app.text_input(key="dataset-path-0").set_value(str(csv_folder(1))).run()
    app.text_input(key="dataset-name-0").set_value("no name!")
    register(app)
    refused = app.error[0].value
    with pytest.raises(KeyError):
        hidden(app)
    app.text_input(key="dataset-description-0").set_value("another field").run()
    with pytest.raises(KeyError):
        hidden(app)
    app.text_input(key="dataset-name-0").set_value("a-name").run()
    assert hidden(app) == [refused]
    register(app)
    assert not app.error


def test_a_folder_on_this_machine_is_registered_in_place_by_a_pattern(open_page, workspace, csv_folder):
    folder = csv_folder(3, "orders of june")
    (folder / "notes.txt").write_text("none")
    app = open_form(open_page, "Folder on this machine")
    app.text_input(key="dataset-path-0").set_value(str(folder)).run()
    assert app.text_input(key="dataset-name-0").placeholder == "orders-of-june"
    app.text_input(key="dataset-glob-0").set_value("*.csv")
    register(app)
    dataset = workspace.dataset("orders-of-june")
    assert (dataset.root, dataset.in_place, dataset.file_count) == (str(folder), True, 3)


def test_an_archive_on_this_machine_is_unpacked(open_page, workspace, tmp_path):
    (tmp_path / "june.zip").write_bytes(zipped({"a.csv": b"1\n", "b/c.csv": b"2\n"}))
    app = open_form(open_page, "Folder on this machine")
    app.text_input(key="dataset-path-0").set_value(str(tmp_path / "june.zip")).run()
    register(app)
    dataset = workspace.dataset("june")
    assert (paths_of(workspace, dataset), dataset.in_place) == (["a.csv", "b/c.csv"], False)


def test_a_folder_on_this_machine_can_be_copied_in(open_page, workspace, csv_folder):
    app = open_form(open_page, "Folder on this machine")
    app.text_input(key="dataset-path-0").set_value(str(csv_folder(2))).run()
    app.toggle(key="dataset-copy-0").set_value(True).run()
    register(app)
    assert not workspace.dataset("csv").in_place


TABULAR = "Each row is one item"


def test_tables_are_registered_with_their_keys_and_columns(open_page, workspace, tmp_path):
    for store in (1, 2):
        (tmp_path / "sales" / f"store={store}").mkdir(parents=True)
        (tmp_path / "sales" / f"store={store}" / "part.csv").write_text("sold,*name*\n1,a\n2.5,b\n")
    app = open_form(open_page, "Folder on this machine")
    app.text_input(key="dataset-path-0").set_value(str(tmp_path / "sales")).run()
    app.segmented_control(key="dataset-type-0").set_value(TABULAR)
    app.text_input(key="dataset-partition_format-0").set_value("store={store}/part.csv")
    register(app)
    assert not app.exception
    assert not app.error
    dataset = workspace.dataset("sales")
    assert (dataset.type, dataset.row_count, dataset.partition_format) == ("tabular", 4, "store={store}/part.csv")
    assert app.dataframe[0].value[["Files", "Rows"]].values.tolist() == [[2, 4]]
    assert app.dataframe[1].value.values.tolist() == [["sold", "number"], ["*name*", "text"]]
    assert app.dataframe[2].value["File"].tolist() == ["store=1/part.csv", "store=2/part.csv"]
    assert app.dataframe[3].value.values.tolist() == [["1", "a"], ["2.5", "b"]]


def test_the_first_rows_of_a_parquet_file_are_shown(open_page, workspace, tmp_path):
    (tmp_path / "in").mkdir()
    parquet.write_table(pyarrow.table({"n": list(range(50)), "t": ["x"] * 50}), tmp_path / "in" / "a.parquet")
    workspace.register_dataset("p", tmp_path / "in", type="tabular")
    app = open_page(DATASETS)
    assert not app.exception
    assert app.dataframe[3].value["n"].tolist() == list(range(20))
    (tmp_path / "in" / "a.parquet").write_bytes(b"PAR1")
    app.run()
    assert "is not a Parquet file" in app.error[0].value


@pytest.mark.parametrize(
    ("content", "partition_format", "message"),
    [
        (b"a,b\n1\n", "", "has 1 field in record 2"),
        (b"a,b\n1,2\n", "{store", "has a single"),
        (b"a,b\n1,2\n", "{b}.csv", "The files have a column “b”"),
    ],
)
def test_files_that_are_not_tables_are_rejected_with_the_reason(open_page, workspace, tmp_path, *, content, partition_format, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.csv").write_bytes(content)
    app = open_form(open_page, "Folder on this machine")
    app.text_input(key="dataset-path-0").set_value(str(tmp_path / "in")).run()
    app.segmented_control(key="dataset-type-0").set_value(TABULAR)
    app.text_input(key="dataset-partition_format-0").set_value(partition_format)
    register(app)
    assert not app.exception
    assert message in app.error[0].value.replace("\\", "")
    assert workspace.datasets() == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "no:name", "be a name"),
        ("glob", "../*", "is not a pattern of files"),
        ("glob", "", "is not a pattern of files"),
        ("glob", "*.parquet", "none of which matches"),
        ("path", "", "No folder is given"),
        ("path", "/there/is/no/such/folder", "There is no file or folder"),
    ],
)
def test_an_invalid_value_is_reported_and_nothing_registered(open_page, workspace, csv_folder, *, field, value, message):
    app = open_form(open_page, "Folder on this machine")
    app.text_input(key="dataset-path-0").set_value(str(csv_folder(2))).run()
    app.text_input(key=f"dataset-{field}-0").set_value(value)
    register(app)
    assert not app.exception
    assert message in app.error[0].value.replace("\\", "")
    assert workspace.datasets() == []


def test_a_form_without_files_is_rejected(open_page):
    app = open_page(DATASETS, tab="Register a dataset")
    app.text_input(key="dataset-name-0").set_value("orders")
    register(app)
    assert "No files are uploaded" in app.error[0].value


def test_changed_and_missing_files_are_listed(open_page, workspace, csv_folder):
    folder = csv_folder(3)
    workspace.register_dataset("orders", folder)
    app = open_page(DATASETS)
    assert not app.warning
    app.button(key="check-orders:1").click().run()
    assert not app.success  # a check of sizes and times is no praise of what is in the files
    (checked,) = (info.value for info in app.info)
    assert checked.startswith("Sizes and times are the same as at registration (all files). Contents are not checked")
    (folder / "0001.csv").write_text("changed")
    (folder / "0002.csv").unlink()
    app.run()
    assert "Files have changed since registration" in app.warning[0].value
    assert any("0001.csv was changed" in block.value and "0002.csv is gone" in block.value for block in app.code)


def test_a_check_of_broken_files_says_which_are_empty_and_does_not_praise_the_others(open_page, workspace, tmp_path):
    workspace.register_dataset("orders", write_files(tmp_path / "files"))
    app = open_page(DATASETS)
    app.button(key="check-orders:1").click().run()
    assert [warning.value for warning in app.warning] == ["1 file is empty."]
    assert "order_0063.csv" in [block.value for block in app.code]
    assert not app.success
    assert "Contents are not checked: a run says which files can't be scored." in app.info[0].value


@pytest.mark.parametrize("ending", [".tar.gz", ".tar.zst"])
def test_an_uploaded_tar_is_unpacked_and_says_what_it_left_out(open_page, workspace, ending):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in ("a.csv", "b/c.csv", "b/._c.csv", "._a.csv", ".DS_Store"):
            info = tarfile.TarInfo(name)
            info.size = 2
            archive.addfile(info, io.BytesIO(b"1\n"))
    pack = zstd.compress if ending == ".tar.zst" else gzip.compress
    app = open_form(open_page, "Archive")
    app.file_uploader(key="dataset-archive-0").upload(f"june{ending}", pack(packed.getvalue())).run()
    assert app.text_input(key="dataset-name-0").placeholder == "june"
    register(app)
    assert not app.exception
    dataset = workspace.dataset("june")
    assert paths_of(workspace, dataset) == ["a.csv", "b/c.csv"]
    app = open_page(DATASETS, dataset="june:1")
    assert "3 (2 × ._*, 1 × .DS_Store)" in [text.value for text in app.text]


def test_a_folder_with_links_says_what_it_left_out_and_the_way_out(open_page, workspace, csv_folder):
    folder = csv_folder(2)
    (folder / "linked").symlink_to(csv_folder(1, "elsewhere"))
    workspace.register_dataset("orders", folder)
    app = open_page(DATASETS)
    assert "1 (1 × links to folders)" in [text.value for text in app.text]
    assert any("Links to folders are not followed" in caption.value for caption in app.caption)


def preview(open_page, workspace, folder, name: str, content: bytes):
    (folder / name).write_bytes(content)
    workspace.register_dataset("one", folder)
    app = open_page(DATASETS)
    assert not app.exception
    return app


@pytest.mark.parametrize(
    ("name", "content", "columns", "rows"),
    [
        ("a.csv", b"customer,amount\nAnn,1\nBob,2\n", ["customer", "amount"], [["Ann", "1"], ["Bob", "2"]]),
        ("a.csv", b"0.5,1,2\n", ["1", "2", "3"], [["0.5", "1", "2"]]),
        ("a.txt", b"x;y\n1;2\n", ["x", "y"], [["1", "2"]]),
        ("a.csv", b'n,"a ""quoted"", two\nlines"\n1,=2\n', ["n", 'a "quoted", two\nlines'], [["1", "=2"]]),
        ("a.csv", b"x,x\n1,2\n", ["1", "2"], [["x", "x"], ["1", "2"]]),
        ("a.csv", b"0," * 9000 + b"0", [str(number) for number in range(1, 101)], [["0"] * 100]),
        ("a.csv", "a,b\n1\u2028,2\r\n".encode(), ["a", "b"], [["1\u2028", "2"]]),
        ("a.csv", b"\xef\xbb\xbfnaam,b\nAndr\xe9,1\n", ["naam", "b"], [["Andr\ufffd", "1"]]),
    ],
)
def test_a_delimited_file_is_previewed_as_a_table(open_page, workspace, tmp_path, *, name, content, columns, rows):
    (tmp_path / "in").mkdir()
    table = preview(open_page, workspace, tmp_path / "in", name, content).dataframe[-1].value
    assert table.columns.tolist() == columns
    assert table.values.tolist() == rows


def test_an_image_is_previewed_by_its_content(open_page, workspace, tmp_path):
    (tmp_path / "in").mkdir()
    app = preview(open_page, workspace, tmp_path / "in", "no-suffix", PNG)
    assert app.get("image")[0].value == ["data:image/png;base64," + b64encode(PNG).decode()]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(range(256)) * 8, "Binary file, 2,048 bytes."),
        (b"", "Empty file."),
        (PNG + b"\0" * 3_000_000, "Image of 3.0 MB, too large for a preview."),
    ],
)
def test_a_file_without_a_preview_is_described(open_page, workspace, tmp_path, content, message):
    (tmp_path / "in").mkdir()
    app = preview(open_page, workspace, tmp_path / "in", "file", content)
    assert message in [caption.value for caption in app.caption]
    assert not app.get("image")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_table_saved_on_windows_is_previewed_as_a_table(open_page, workspace, tmp_path, encoding):
    (tmp_path / "in").mkdir()
    app = preview(open_page, workspace, tmp_path / "in", "rows.csv", "größe,name\r\n1,ä\r\n".encode(encoding))
    assert app.dataframe[-1].value.to_dict("list") == {"größe": ["1"], "name": ["ä"]}


def test_a_text_is_previewed_and_a_long_one_truncated(open_page, workspace, tmp_path):
    (tmp_path / "in").mkdir()
    text = "# not a heading ![](http://x)\n" * 10_000
    app = preview(open_page, workspace, tmp_path / "in", "readme.md", text.encode())
    shown = app.code[-1].value
    assert text.startswith(shown)
    assert 1000 < len(shown) <= 8000
    assert "The beginning of 300.0 kB." in [caption.value for caption in app.caption]


def test_a_missing_file_or_a_pipe_is_reported_without_waiting(open_page, workspace, csv_folder):
    folder = csv_folder(1)
    workspace.register_dataset("orders", folder)
    (folder / "0000.csv").unlink()
    app = open_page(DATASETS)
    assert any("Cannot read" in warning.value.replace("\\", "") for warning in app.warning)
    if sys.platform != "win32":
        os.mkfifo(folder / "0000.csv")
        app.run()
        assert any("no longer a regular file" in warning.value for warning in app.warning)


def test_a_dataset_whose_list_of_files_is_gone_says_what_to_do(open_page, workspace, csv_folder):
    dataset = workspace.register_dataset("orders", csv_folder(2))
    os.unlink(dataset.manifest)
    app = open_page(DATASETS)
    assert not app.exception
    assert "Register the dataset again" in app.error[0].value
    assert app.selectbox(key="dataset").value == "orders:1"


def test_a_long_list_of_files_has_pages_of_100(open_page, workspace, csv_folder):
    workspace.register_dataset("orders", csv_folder(250))
    app = open_page(DATASETS)
    assert app.dataframe[1].value["File"].tolist() == [f"{number:04}.csv" for number in range(100)]
    app.pagination(key="page-orders:1").set_value(3).run()
    assert not app.exception
    assert app.dataframe[1].value["File"].tolist() == [f"{number:04}.csv" for number in range(200, 250)]
    assert "Files 201 to 250 of 250" in [caption.value for caption in app.caption]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_hostile_file_names_are_shown_as_text(open_page, workspace, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    names = ["![](http:x)", ":red[x]", "$x$", "<b>b<b>", "=cmd", "two\nlines", "\u202egpj.exe", "a,b\"c'", "x" * 250]
    for name in names:
        (folder / name).write_text("1\n")
    workspace.register_dataset("hostile", folder)
    app = open_page(DATASETS)
    assert not app.exception
    shown = [name.replace("\n", "↵").replace("\u202e", "[U+202E]") for name in names]
    assert sorted(app.dataframe[1].value["File"]) == sorted(shown)
    for markdown in [*app.markdown, *app.caption]:
        assert "![" not in markdown.value


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and Windows have no file names of odd bytes")
def test_undecodable_bytes_in_a_file_name_are_marked(open_page, workspace, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / os.fsdecode(b"odd\xff.csv")).write_text("1,2\n")
    workspace.register_dataset("odd", tmp_path / "in")
    app = open_page(DATASETS)
    assert not app.exception
    assert app.dataframe[1].value["File"].tolist() == ["odd\ufffd.csv"]
    assert app.dataframe[2].value.values.tolist() == [["1", "2"]]


def test_a_link_opens_the_version_it_names(open_page, workspace, csv_folder):
    folder = csv_folder(2)
    for _ in range(2):
        workspace.register_dataset("orders", folder)
    app = open_page(DATASETS, dataset="orders:1")
    assert app.selectbox(key="dataset").value == "orders:1"


@pytest.mark.parametrize("gone", ["gone:7", "gone", "orders", "orders:3"])
def test_a_link_to_a_dataset_that_is_not_there_says_so(open_page, workspace, csv_folder, gone):
    workspace.register_dataset("orders", csv_folder(2))
    app = open_page(DATASETS, dataset=gone)
    assert f"There is no dataset “{gone}” here" in app.warning[0].value.replace("\\", "")
    assert app.selectbox(key="dataset").value == "orders:1"


def test_a_path_in_a_datastore_proposes_the_name(open_page, home):
    Connection("s", "g", "w", SignIn.DEVICE_CODE).remember(home)  # sends no request before a person signs in
    app = open_page(DATASETS, tab="Register a dataset")
    app.segmented_control(key="dataset-source-0").set_value("In a datastore").run()
    app.text_input(key="dataset-place-0").set_value("azureml://datastores/store/paths/orders").run()
    assert not app.exception
    assert app.text_input(key="dataset-name-0").placeholder == "orders"
