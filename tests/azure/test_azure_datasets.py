"""Datasets of an Azure ML workspace, on the stand-in: uploads that arrive whole, what lies there already, previews."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from services.azure.catalog.downloads import blobs_by_path
from services.azure.catalog.uploads import upload_files
from services.domain import TableReading, TabularDataset
from services.errors import IntakeError, NotFound, SettingsError, WorkspaceUnavailable
from services.intake.tabular import Table
from services.settings import ParallelRunSettings
from services.storage.mini_batch_plan import describe

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own
UPLOADS = "PUT *.blob.core.windows.net*"


def test_an_upload_that_storage_swallows_is_retried(cloud, azure, csv_folder):
    azure.service.fault(UPLOADS + "0001.csv*", swallow=True)
    dataset = cloud.register_dataset("d", csv_folder(3))
    assert cloud.changed_files(dataset) == []
    assert dataset.size == sum(file.size for file in cloud.dataset_files(dataset, 0, 9))


def test_an_incomplete_upload_registers_nothing(cloud, azure, csv_folder):
    azure.service.fault(UPLOADS + "0001.csv*", swallow=True, count=None)
    with pytest.raises(WorkspaceUnavailable, match=r"1 of 3 files did not arrive whole.*0001\.csv: 0 of \d+ bytes"):
        cloud.register_dataset("d", csv_folder(3))
    assert cloud._cache.datasets.fetch() == []
    assert list(cloud.home.glob("incoming/*")) == []


def test_an_upload_that_broke_off_is_continued(cloud, azure, csv_folder):
    folder = csv_folder(5)
    azure.service.fault(UPLOADS + "0003.csv*", swallow=True, count=None)
    with pytest.raises(WorkspaceUnavailable):
        cloud.register_dataset("d", folder)
    azure.service.clear()
    cloud.register_dataset("d", folder)
    sent = [seen.line for seen in azure.requests if seen.line.startswith("PUT") and ".csv" in seen.line]
    assert sent
    assert all("0003.csv" in line for line in sent)


def test_other_content_of_the_same_size_is_another_upload(cloud, csv_folder):
    folder = csv_folder(1)
    cloud.register_dataset("d", folder)
    before = (folder / "0000.csv").read_bytes()
    (folder / "0000.csv").write_bytes(bytes(reversed(before)))
    again = cloud.register_dataset("d", folder)
    assert cloud.local_file(again, "0000.csv").read_bytes() == bytes(reversed(before))
    assert cloud.local_file(cloud.dataset("d:1"), "0000.csv").read_bytes() == before


def test_a_datastore_without_a_secret_is_opened_as_who_is_signed_in(cloud, azure, tmp_path):
    azure.service.set_storage_credentials("None", azure.workspace)
    (tmp_path / "a.csv").write_text("1")
    here = cloud._sdk.datasets.store()
    upload_files(here.blobs, "target", {"a.csv": tmp_path / "a.csv"}, lambda _done, _total: None)
    assert [(name, blob.size) for name, blob in blobs_by_path(here.blobs, "target").items()] == [("a.csv", 1)]


def test_names_with_special_characters_arrive_unchanged(cloud, tmp_path):
    names = [
        "ü ñ.csv",
        "a,b;c.csv",
        "no #1.csv",
        "=cmd.csv",
        "sub folder/x@y.csv",
        "quote'd.csv",
        "plus+minus.csv",
        "a[1].csv",
        "$(x)`y`.csv",
    ]
    for name in names:
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_text(name)
    dataset = cloud.register_dataset("d", tmp_path / "f")
    assert sorted(file.path for file in cloud.dataset_files(dataset, 0, 99)) == sorted(names)
    assert cloud.changed_files(dataset) == []
    for name in names:
        assert cloud.local_file(dataset, name).read_text() == name


def test_a_name_that_the_sdk_would_change_is_refused(cloud, azure, tmp_path):
    for number, sign in enumerate('"%&*:<>?|'):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / f"a{sign}b.csv").write_text("x")
        with pytest.raises(IntakeError, match=re.escape(f"a{sign}b.csv")):
            cloud.register_dataset("d", folder)
    assert azure.requests == []


def test_a_dataset_is_registered_in_place(cloud, csv_folder):
    cloud.register_dataset("d", csv_folder(4))
    place = cloud.dataset("d").root
    dataset = cloud.register_dataset("again", place + "/**")
    assert (dataset.file_count, dataset.in_place, dataset.root) == (4, True, place + "/**")
    with pytest.raises(SettingsError, match="not a path in a datastore") as refused:
        cloud.register_dataset("none", "azureml://somewhere")
    assert refused.value.field == "path"


def test_an_empty_datastore_path_is_refused(cloud):
    for path in ("nothing/here", "nothing/here/**", "nothing/rows.csv"):
        place = f"azureml://datastores/workspaceblobstore/paths/{path}"
        with pytest.raises(IntakeError) as refused:
            cloud.register_dataset("none", place)
        assert refused.value.message == f"There is no file at {place}."
        assert "spelling" in refused.value.hint


def test_all_versions_of_a_dataset_registered_elsewhere_are_listed(cloud, ws, rows, azure, tmp_path):
    rows.register(ws, "rows", create_new_version=True)
    azure.service.set_page_size(1, azure.workspace)
    versions = cloud.datasets()
    assert sorted(dataset.reference for dataset in versions) == ["rows:1", "rows:2"]
    dataset = cloud.dataset("rows")
    assert (dataset.version, dataset.file_count) == (2, None)
    settings = ParallelRunSettings(mini_batch_size=2)
    assert (cloud.mini_batches([dataset], settings).item_count, cloud.dataset("rows").file_count) == (5, 5)
    azure.service.clear()
    cloud.mini_batches([cloud.dataset("rows")], settings)
    assert azure.requests == []


def test_the_preview_of_a_file_downloads_that_file_only(cloud, ws, rows, azure):
    dataset = cloud.dataset("rows")
    cloud.dataset_files(dataset, 0, 1)
    azure.service.clear()
    assert cloud.local_file(dataset, "3.csv").read_text() == "3\n"
    fetched = {seen.line.split("?")[0].rpartition("/")[2] for seen in azure.requests if "GET" in seen.line and ".csv" in seen.line}
    assert fetched == {"3.csv"}
    azure.service.clear()
    cloud.local_file(dataset, "3.csv")
    assert azure.requests == []
    with pytest.raises(NotFound, match="none"):
        cloud.local_file(dataset, "none")


def test_a_tabular_dataset_registered_elsewhere_is_listed(cloud, ws, tmp_path):
    from azureml.core import Dataset

    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "t.csv").write_text("a,b\n1,2\n")
    store = ws.get_default_datastore()
    Dataset.File.upload_directory("t", (store, "t"), show_progress=False)
    Dataset.Tabular.from_delimited_files((store, "t/t.csv")).register(ws, "t")
    dataset = cloud.dataset("t")
    assert isinstance(dataset, TabularDataset)
    assert dataset.item == "row"
    assert "cuts tabular datasets" in cloud.mini_batches([dataset], ParallelRunSettings()).notes[0]
    assert [file.path for file in cloud.dataset_files(dataset, 0, 9)] == ["t.csv"]
    assert cloud.local_file(dataset, "t.csv").read_text() == "a,b\n1,2\n"


def test_a_table_is_registered_with_the_columns_that_a_script_gets(cloud, ws, tmp_path):
    from azureml.core import Dataset

    (tmp_path / "t.csv").write_text('a,a, c,,u,d\n1,"x\ny",True,,18446744073709551615,2026-01-02\n2,NA,False,1.5,7,2026-01-03\n')
    dataset = cloud.register_dataset("t", tmp_path / "t.csv", type="tabular")
    types = {"a": "int64", "a_1": "str", "c": "bool", "Column4": "float64", "u": "str", "d": "str"}
    assert (dict(dataset.columns), dataset.row_count, dataset.size) == (types, 2, (tmp_path / "t.csv").stat().st_size)
    frame = Dataset.get_by_name(ws, "t").to_pandas_dataframe()
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == types
    assert (frame.a_1[0], frame.u[0], frame.d[1]) == ("x\ny", "18446744073709551615", "2026-01-03")
    (elsewhere,) = cloud._datasets.all()
    assert replace(elsewhere, created_at=dataset.created_at) == dataset
    assert cloud.local_file(dataset, "t.csv").read_text() == (tmp_path / "t.csv").read_text()


@pytest.mark.usefixtures("ws")  # imports the SDK
@pytest.mark.parametrize("content", ["a,b\n1,x\n  \n2,y\n", 'a,b\n1,"x\ny"\n\n2,y\n', "a,b\r1,x\r2,y\r"])
def test_a_table_that_azure_reads_differently_is_refused(cloud, tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content.encode())
    with pytest.raises(IntakeError, match="would read other rows"):
        cloud._sdk.datasets.as_read([tmp_path / "t.csv"], Table("csv", (("a", "int64"), ("b", "str")), 2))


def test_a_table_is_registered_in_place_without_reading_its_rows(cloud, tmp_path):
    import pyarrow
    from pyarrow import parquet

    for month in ("01", "02"):
        (tmp_path / "p" / month).mkdir(parents=True)
        parquet.write_table(pyarrow.table({"n": [1, 2, 3]}), tmp_path / "p" / month / "part.parquet")
    place = cloud.register_dataset("p", tmp_path / "p", type="tabular", partition_format="{month}/part.parquet").root
    assert (cloud.dataset("p").format, cloud.dataset("p").row_count, dict(cloud.dataset("p").columns)) == ("parquet", 6, {"n": "int64"})
    dataset = cloud.register_dataset("again", f"{place}/**/*.parquet", type="tabular")
    assert (dataset.format, dataset.row_count, dataset.file_count, dataset.in_place) == ("parquet", None, 2, True)
    keyed = cloud.register_dataset("keyed", f"{place}/**/*.parquet", type="tabular", partition_format="{month}/part.parquet")
    text = describe(cloud.mini_batches([keyed], ParallelRunSettings(partition_keys=["month"])), ParallelRunSettings())
    assert text == "All rows, not counted yet, on 1 node; stops after the 11th failed row"
    with pytest.raises(SettingsError, match="not a type"):
        cloud.register_dataset("again", place, type="image")


def test_the_sdk_s_own_list_of_datasets_is_always_empty(ws, rows):
    assert (list(ws.datasets), list(ws.datasets.keys())) == ([], ["rows"])


@pytest.mark.parametrize("call", ["PUT *blob.core*", "GET *blob.core*comp=list*"])
def test_an_upload_that_storage_refuses_says_what_and_who_can_grant_it(cloud, csv_folder, azure, call):
    message = "This request is not authorized to perform this operation using this permission."
    azure.service.fault(call, count=None, status=403, code="AuthorizationPermissionMismatch", message=message)
    with pytest.raises(WorkspaceUnavailable) as refused:  # exit code 3
        cloud.register_dataset("rows", csv_folder(2))
    assert refused.value.message.startswith("Dataset rows was not registered: the storage account refuses it. ")
    assert message in refused.value.message
    assert "Err(" not in refused.value.message
    assert "session_id" not in refused.value.message
    assert "Storage Blob Data Contributor" in refused.value.hint
    assert cloud.datasets() == []


def test_a_table_of_another_dialect_is_uploaded_as_parquet_and_read_again_as_files(cloud, ws, tmp_path):
    from azureml.core import Dataset

    (tmp_path / "t.csv").write_bytes("Größe;zip;ok\n1,5;00501;True\n2,75;10115;False\n".encode("cp1252"))
    dataset = cloud.register_dataset("t", tmp_path / "t.csv", type="auto", reading=TableReading(types={"zip": "text"}))
    assert (dataset.format, dataset.source_format, dataset.row_count) == ("parquet", "csv", 2)
    assert dataset.typed_columns == (("Größe", "number"), ("zip", "text"), ("ok", "boolean"))
    frame = Dataset.get_by_name(ws, "t").to_pandas_dataframe()
    assert frame.to_dict("list") == {"Größe": [1.5, 2.75], "zip": ["00501", "10115"], "ok": [True, False]}
    (elsewhere,) = cloud._datasets.all()
    assert replace(elsewhere, created_at=dataset.created_at) == dataset
    files = cloud.reread_dataset("t", "file")
    assert (files.reference, [file.path for file in cloud.dataset_files(files, 0, 9)]) == ("t:2", ["t.csv.parquet"])
    assert cloud.propose_reread("t:2", "tabular").item_count == 2
    again = cloud.reread_dataset("t:2", "tabular")
    assert (again.reference, again.row_count, again.typed_columns) == ("t:3", 2, dataset.typed_columns)
    with pytest.raises(SettingsError) as refused:
        cloud.propose_dataset(files.root)
    assert refused.value.field == "path"


def test_a_csv_of_which_azure_would_read_other_rows_is_uploaded_as_parquet(cloud, ws, tmp_path):
    from azureml.core import Dataset

    (tmp_path / "t.csv").write_bytes(b'a,b\n1,"x\ny"\n\n2,y\n')
    dataset = cloud.register_dataset("t", tmp_path / "t.csv", type="tabular")
    assert (dataset.format, dataset.row_count) == ("parquet", 2)
    assert Dataset.get_by_name(ws, "t").to_pandas_dataframe().to_dict("list") == {"a": [1, 2], "b": ["x\ny", "y"]}


def test_the_odd_files_of_an_upload_are_known_elsewhere_too(cloud, csv_folder):
    folder = csv_folder(4)
    (folder / "0002.csv").write_text("1,2\n")
    dataset = cloud.register_dataset("d", folder)
    assert [(problem.file, problem.what) for problem in dataset.problems] == [("0002.csv", "It has 2 fields, and most files have 3.")]
    (elsewhere,) = cloud._datasets.all()
    assert (elsewhere.item_kind, elsewhere.problems, elsewhere.problem_count) == (dataset.item_kind, dataset.problems, 1)


def test_an_address_that_can_not_be_reached_is_told_at_once(cloud):
    with pytest.raises(WorkspaceUnavailable, match=r"127\.0\.0\.1: it refuses the connection"):
        cloud.register_dataset("rows", "https://127.0.0.1:1/rows.csv", type="file")
