"""Datasets: the form says what the files are, shows their first rows, and lets a person change how they are read."""

import time

import pytest

from tests.pages.test_registered_datasets import DATASETS, zipped

pytestmark = pytest.mark.slow  # registers and scores in processes of their own

FILE, TABULAR = "Each file is one item", "Each row is one item"
CHURN = "customer;zip;amount\n1;00501;1,5\n2;00502;2,5\n3;00503;3,5\n"


def answered(app):
    """The page when the files have been looked at."""
    for _ in range(300):
        assert not app.exception
        if not any("Looking at the files" in caption.value for caption in app.caption):
            return app
        time.sleep(0.1)
        app.run()
    raise AssertionError("the files were looked at for half a minute")


@pytest.fixture
def form(open_page, tmp_path):
    """`form({"a.csv": "1,2"})` is the form with the path of a folder with these files, looked at; of a single one with its own."""

    def choose(files):
        folder = tmp_path / "given"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        app = open_page(DATASETS, tab="Register a dataset")
        app.segmented_control(key="dataset-source-0").set_value("Folder on this machine").run()
        path = folder if len(files) > 1 else folder / next(iter(files))
        return answered(app.text_input(key="dataset-path-0").set_value(str(path)).run())

    return choose


def sentence(app):
    return next(markdown.value.strip("*").replace("\\", "") for markdown in app.markdown if markdown.value.startswith("**"))


def kind(app):
    return app.segmented_control(key="dataset-type-0").value


def register(app):
    app.button(key="dataset-submit-0").click().run()
    assert not app.exception
    assert [error.value for error in app.error] == []
    return app


def preview(app):
    """The table of the first rows, by its columns' names as they are shown."""
    return next(table.value for table in app.dataframe if table.proto.alt.startswith("The first rows, as"))


def test_a_table_is_proposed_with_its_first_rows_and_registered_as_such(form, workspace):
    app = form({"churn.csv": CHURN})
    assert sentence(app) == "Each row of this file is one item: 3 rows, 3 columns."
    assert kind(app) == TABULAR
    assert preview(app).values.tolist()[0] == ["1", "501", "1.5"]
    register(app)
    dataset = workspace.dataset("churn")
    assert (dataset.type, dataset.row_count) == ("tabular", 3)
    assert dataset.typed_columns == (("customer", "integer"), ("zip", "integer"), ("amount", "number"))


@pytest.mark.slow
def test_files_of_one_row_are_proposed_as_items(form, workspace):
    app = form({f"{number}.csv": "1.5,2,3\n" for number in range(4)})
    assert kind(app) == FILE
    assert "4 files" in sentence(app)
    register(app)
    assert workspace.dataset("given").type == "file"


@pytest.mark.slow
def test_a_person_changes_the_kind(form, workspace):
    app = form({"churn.csv": CHURN})
    answered(app.segmented_control(key="dataset-type-0").set_value(FILE).run())
    assert kind(app) == FILE
    assert "one item" in sentence(app)
    register(app)
    assert workspace.dataset("churn").type == "file"


def test_leading_zeros_are_kept_by_one_click(form, workspace):
    app = form({"churn.csv": CHURN})
    answered(app.button(key="dataset-zeros-0").click().run())
    assert preview(app).values.tolist()[0] == ["1", "00501", "1.5"]
    register(app)
    assert dict(workspace.dataset("churn").typed_columns)["zip"] == "text"


@pytest.mark.slow
def test_the_type_of_a_column_is_changed_and_changed_back(form, workspace):
    app = form({"churn.csv": CHURN})
    app.selectbox(key="dataset-column-0").set_value("amount").run()
    answered(app.segmented_control(key="dataset-column_type-0").set_value("text").run())
    assert preview(app)["2"].tolist()[0] == "1,5"
    answered(app.button(key="dataset-type_0-0").click().run())
    assert preview(app)["2"].tolist()[0] == "1.5"
    app.selectbox(key="dataset-column-0").set_value("customer").run()
    answered(app.segmented_control(key="dataset-column_type-0").set_value("number").run())
    register(app)
    assert dict(workspace.dataset("churn").typed_columns) == {"customer": "number", "zip": "integer", "amount": "number"}


@pytest.mark.slow
def test_delimiter_and_header_are_changed_and_the_preview_follows(form, workspace):
    app = form({"a.csv": "a,b;c\n1,2;3\n4,5;6\n"})
    answered(app.selectbox(key="dataset-delimiter-0").set_value("semicolon").run())
    assert preview(app).shape[1] == 2
    answered(app.selectbox(key="dataset-header-0").set_value("data").run())
    assert preview(app).values.tolist()[0] == ["a,b", "c"]
    register(app)
    assert workspace.dataset("a").row_count == 3


@pytest.mark.slow
def test_what_is_wrong_with_a_correction_is_said_and_corrected(form, workspace):
    app = form({"churn.csv": CHURN})
    answered(app.selectbox(key="dataset-encoding-0").set_value("utf-16").run())
    assert len(app.error) == 1
    answered(app.selectbox(key="dataset-encoding-0").set_value("utf-8").run())
    register(app)
    assert workspace.dataset("churn").row_count == 3


@pytest.mark.slow
def test_other_files_forget_what_was_said_of_the_first(form, workspace, tmp_path):
    app = form({"churn.csv": CHURN})
    answered(app.segmented_control(key="dataset-type-0").set_value(FILE).run())
    (tmp_path / "other.csv").write_text("a,b\n" + "1,2\n" * 5)
    answered(app.text_input(key="dataset-path-0").set_value(str(tmp_path / "other.csv")).run())
    assert kind(app) == TABULAR
    assert "5 rows, 2 columns" in sentence(app)


def test_odd_files_are_listed_before_anything_is_registered(form, workspace):
    files = {f"{number}.csv": "1.5,2,3\n" for number in range(9)} | {"short.csv": "1,2\n", "empty.csv": "", "=word.csv": "1,x,3\n"}
    app = form(files)
    (odd,) = (table.value for table in app.dataframe if table.proto.alt.startswith("Odd files"))
    assert sorted(odd["File"]) == ["=word.csv", "empty.csv", "short.csv"]
    assert workspace.datasets() == []
    register(app)
    assert workspace.dataset("given").problem_count == 3
    assert sorted(next(t.value for t in app.dataframe if t.proto.alt.startswith("Odd files"))["File"]) == sorted(odd["File"])


@pytest.mark.slow
def test_an_uploaded_file_gives_the_name_and_is_looked_at(open_page, workspace, home):
    app = open_page(DATASETS, tab="Register a dataset")
    app.file_uploader(key="dataset-files-0").upload("my churn.csv", CHURN.encode()).run()
    answered(app)
    assert app.text_input(key="dataset-name-0").placeholder == "my-churn"
    assert "3 rows, 3 columns" in sentence(app)
    register(app)
    assert workspace.dataset("my-churn").type == "tabular"
    assert list((home / "incoming").iterdir()) == []


@pytest.mark.slow
def test_an_archive_is_looked_at(open_page, workspace):
    app = open_page(DATASETS, tab="Register a dataset")
    app.segmented_control(key="dataset-source-0").set_value("Archive").run()
    app.file_uploader(key="dataset-archive-0").upload("june.zip", zipped({"a.csv": b"x,y\n1,2\n3,4\n", "b.csv": b"x,y\n5,6\n7,8\n"})).run()
    answered(app)
    assert "these 2 files" in sentence(app)
    register(app)
    assert workspace.dataset("june").item_count in (2, 4)


@pytest.mark.slow
def test_a_path_that_is_not_there_is_said_at_once_and_only_once(open_page, tmp_path):
    app = open_page(DATASETS, tab="Register a dataset")
    app.segmented_control(key="dataset-source-0").set_value("Folder on this machine").run()
    answered(app.text_input(key="dataset-path-0").set_value(str(tmp_path / "nothing")).run())
    assert len(app.error) == 1
    app.button(key="dataset-submit-0").click().run()
    assert len(app.error) == 1


@pytest.mark.slow
def test_hostile_names_and_texts_are_shown_as_text(form):
    app = form({"a.csv": 'a,":red[x] **y**",<b>x</b>,"=cmd"\n1,"![](http:x)",3,"two\nlines"\n4,5,6,7\n'})
    assert preview(app).values.tolist()[0] == ["1", "![](http:x)", "3", "two↵lines"]
    for markdown in [*app.markdown, *app.caption]:
        assert "![" not in markdown.value


@pytest.mark.slow
def test_a_table_of_thousands_of_columns_shows_the_first(form):
    names = [f"feature_{number}" for number in range(3_000)]
    app = form({"wide.csv": ",".join(names) + "\n" + (",".join(["0.5"] * 3_000) + "\n") * 3})
    assert preview(app).shape == (3, 50)
    assert "The first 50 of 3,000 columns." in [caption.value for caption in app.caption]
    app.text_input(key="dataset-column-0").set_value("feature_2999").run()
    answered(app.segmented_control(key="dataset-column_type-0").set_value("text").run())
    assert app.button(key="dataset-type_0-0").label.replace("\\", "").startswith("feature_2999")


@pytest.mark.slow
def test_a_registered_dataset_says_how_it_is_read_and_its_columns_in_words(open_page, workspace, tmp_path):
    (tmp_path / "churn.csv").write_text(CHURN)
    workspace.register_dataset("churn", tmp_path / "churn.csv", type="tabular")
    app = open_page(DATASETS)
    texts = [text.value for text in app.text]
    assert TABULAR in texts
    assert "a row of a table" in texts
    captions = [caption.value.replace("\\", "") for caption in app.caption]
    assert any(caption.startswith("Read as CSV, semicolon, decimal comma") for caption in captions)
    columns = next(table.value for table in app.dataframe if table.proto.alt == "Columns and their types")
    assert columns.values.tolist() == [["customer", "integer"], ["zip", "integer"], ["amount", "number"]]


def test_the_rows_of_registered_files_become_the_next_version(open_page, workspace, tmp_path):
    (tmp_path / "churn.csv").write_text(CHURN)
    workspace.register_dataset("churn", tmp_path / "churn.csv", type="file")
    app = open_page(DATASETS)
    app.session_state["again-churn:1"] = True
    app.run()
    answered(app)
    assert "3 rows, 3 columns" in sentence(app)
    answered(app.button(key="again-churn:1-zeros-0").click().run())
    app.button(key="again-churn:1-submit-0").click().run()
    assert not app.exception
    assert app.selectbox(key="dataset").value == "churn:2"
    dataset = workspace.dataset("churn:2")
    assert (dataset.type, dict(dataset.typed_columns)["zip"]) == ("tabular", "text")
    assert workspace.dataset("churn:1").type == "file"


@pytest.mark.slow
def test_a_table_becomes_files_again(open_page, workspace, tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.csv").write_text(CHURN)
    workspace.register_dataset("churn", tmp_path / "in", type="tabular")
    app = open_page(DATASETS)
    app.session_state["again-churn:1"] = True
    app.run()
    answered(app.segmented_control(key="again-churn:1-type-0").set_value(FILE).run())
    app.button(key="again-churn:1-submit-0").click().run()
    assert not app.exception
    dataset = workspace.dataset("churn:2")
    assert (dataset.type, [file.path for file in workspace.dataset_files(dataset, 0, 9)]) == ("file", ["0.csv", "1.csv", "2.csv"])
