from __future__ import annotations

import csv
import io
from urllib.parse import parse_qs, urlsplit

import pytest

from services.domain import RunStatus
from services.predictions.filters import Condition, Filter, Operator
from tests.pages.scripts import HALF_BAD, NUMBERS, SCRIPT, STOPS_AT_THREE, THREE_CLASSES

pytestmark = pytest.mark.slow  # registers and scores in processes of their own

RESULTS = "results.py"


def words(elements):
    return " ".join(str(element.value) for element in elements)


def table(app, position=0):
    return app.dataframe[position].value


def links(app):
    """The URLs of the open Download menu, by their label."""
    app.session_state["take"] = True
    app.run()
    return {link.value: link.url for link in app.link_button}


def test_without_runs_the_page_links_to_a_new_one(open_page):
    app = open_page(RESULTS)
    assert not app.exception
    assert "No runs yet" in words(app.info)
    assert [link.value for link in app.page_link] == ["Start a run"]


def test_predictions_are_counted_and_shown_in_pages_of_a_hundred(open_page, ended):
    run = ended(THREE_CLASSES, files=230, mini_batch_size="50")
    app = open_page(RESULTS, run=run.id)
    assert not app.exception
    assert list(table(app).columns) == ["File", "Prediction"]
    assert (len(table(app)), table(app)["File"][0]) == (100, "0000.csv")
    assert "**230 predictions**" in words(app.markdown)
    app.get_by_key("page").set_value(3).run()
    assert (len(table(app)), table(app)["File"][0]) == (30, "0200.csv")
    app.text_input(key="text").set_value("csv").run()
    assert table(app)["File"][0] == "0000.csv"


def test_text_and_facets_filter_the_table_and_the_download(open_page, ended, download):
    run = ended(THREE_CLASSES, files=230, mini_batch_size="50")
    app = open_page(RESULTS, run=run.id)
    app.text_input(key="text").set_value("2.CSV").run()
    app.get_by_key("facet_Prediction").set_value(["class 0", "class 1"]).run()
    assert not app.exception
    expected = [name for name in (f"{n:04}.csv" for n in range(230) if n % 3 < 2) if "2.csv" in name]
    assert list(table(app)["File"]) == expected
    assert f"**{len(expected)}** of 230 predictions" in words(app.markdown)
    chosen = Filter(text="2.CSV", classes=("class 0", "class 1"))
    assert Filter.from_text(app.query_params["filter"]) == chosen
    status, headers, body = download(run, filter=chosen.to_text())
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    assert (status, [row["File"] for row in rows]) == (200, expected)
    assert {row["Prediction"] for row in rows} == {"class 0", "class 1"}
    assert headers["content-encoding"] == "identity"
    assert headers["x-content-type-options"] == "nosniff"
    assert "2.CSV.csv" in headers["content-disposition"]
    assert headers["content-disposition"].startswith("attachment; filename*=utf-8''")


def test_facets_count_under_the_other_filters(open_page, ended):
    app = open_page(RESULTS, run=ended(THREE_CLASSES, files=30).id, filter=Filter(text="000", classes=("class 1",)).to_text())
    assert list(table(app)["File"]) == ["0001.csv", "0004.csv", "0007.csv"]
    assert [option.content for option in app.get_by_key("facet_Prediction").proto.options] == ["class 0 · 4", "class 1 · 3", "class 2 · 3"]
    app.button(key="without_1").click().run()
    assert not app.exception
    assert len(table(app)) == 10
    assert Filter.from_text(app.query_params["filter"]) == Filter(text="000")


def test_the_whole_view_is_in_the_url(open_page, ended):
    run = ended(NUMBERS)
    chosen = Filter(conditions=(Condition("Number", Operator.FROM, ("0.5",)), Condition("File", Operator.GLOB, ("000[4-9].csv",))))
    app = open_page(RESULTS, run=run.id, filter=chosen.to_text(), sort="-Number", row="2", columns="File|Number")
    assert not app.exception
    assert list(table(app).columns) == ["File", "Number"]
    assert list(table(app)["File"]) == [f"000{n}.csv" for n in (9, 8, 7, 6, 5, 4)]
    assert "Row 2 of 6" in words(app.caption)
    assert "0008.csv" in words(app.code)


def test_a_filter_by_a_missing_column_is_reported_and_left_out(open_page, ended):
    chosen = Filter(text="000", conditions=(Condition("score", Operator.FROM, ("0.5",)),))
    app = open_page(RESULTS, run=ended(THREE_CLASSES).id, filter=chosen.to_text(), sort="score")
    assert not app.exception
    assert "This table has no column “score”" in words(app.error).replace("\\", "")
    assert len(table(app)) == 10


MANGLED = [
    {"filter": "{"}, {"filter": '{"conditions": 7}'}, {"page": "x"}, {"page": "999"}, {"row": "-1"}, {"sort": "!"}, {"look": "?"},
    {"beside": "?"}, {"columns": "|"}, {"beside": "labels:gone"}, {"beside": "run:gone"},
]  # fmt: skip


def test_a_mangled_link_still_opens_the_table(open_page, ended):
    run = ended(THREE_CLASSES)
    for query in MANGLED:
        app = open_page(RESULTS, run=run.id, **query)
        assert not app.exception, query
        assert len(table(app)) == 10, query
        if "gone" in query.get("beside", ""):
            assert "can't be joined" in words(app.warning).replace("\\", ""), query
            assert "beside" not in app.query_params, query


def test_a_row_shows_its_input_and_keeps_an_annotation(open_page, ended, download):
    run = ended(THREE_CLASSES)
    app = open_page(RESULTS, run=run.id, row="1")
    assert "0000.csv" in words(app.code)
    assert list(table(app, 1).columns) == ["1", "2", "3"]
    next(button for button in app.button if button.label == "Next").click().run()
    assert "0001.csv" in words(app.code)
    next(field for field in app.text_input if field.label == "Corrected label").set_value("=owl")
    next(field for field in app.text_area if field.label == "Note").set_value("![](http://x)")
    next(button for button in app.button if button.label == "Save").click().run()
    assert not app.exception
    rows = list(csv.DictReader(io.StringIO(download(run)[2].decode())))
    assert (rows[1]["Corrected label"], rows[1]["Note"]) == ("=owl", "![](http://x)")
    assert rows[0]["Note"] == ""
    app.button(key="close_row").click().run()
    assert "row" not in app.query_params


def test_invisible_characters_are_made_visible_and_downloaded_unchanged(open_page, ended, download):
    run = ended(
        "def run(mini_batch):\n    return ['0000.csv: \u202etac\\x00 ', '0001.csv: ', '0002.csv: a\\r\\nb']", files=3, mini_batch_size="3"
    )
    app = open_page(RESULTS, run=run.id)
    assert list(table(app)["Prediction"]) == ["[U+202E]tac[U+0000] ", "", "a[U+000D]↵b"]
    assert "[U+202E]tac[U+0000]␣" in words(open_page(RESULTS, run=run.id, row="1").code)
    assert "empty text" in words(open_page(RESULTS, run=run.id, row="2").caption)
    rows = csv.reader(io.StringIO(download(run)[2].decode(), newline=""))
    assert [row[1] for row in rows][1:] == ["\u202etac\x00 ", "", "a\r\nb"]


def test_a_failed_row_shows_its_error_with_the_traceback(open_page, ended):
    app = open_page(RESULTS, run=ended(HALF_BAD).id, filter=Filter(statuses=("failed",)).to_text(), row="1")
    assert not app.exception
    assert "odd" in words(app.error)
    assert "Traceback" in words(app.code)


def test_the_download_menu_offers_every_format(open_page, ended):
    run = ended(THREE_CLASSES)
    urls = links(open_page(RESULTS, run=run.id, filter=Filter(text="000").to_text()))
    assert {"CSV", "Parquet", "Excel", "Provenance"} <= set(urls)
    assert parse_qs(urlsplit(urls["CSV"]).query) == {"run": [run.id], "filter": [Filter(text="000").to_text()]}


def test_groups_and_sql_are_read_from_the_url(open_page, ended):
    run = ended(THREE_CLASSES, files=30)
    app = open_page(RESULTS, run=run.id, look="Groups")
    assert list(table(app)) == ["Prediction", "Rows"]  # no numbers here
    assert list(table(app)["Rows"]) == [10, 10, 10]
    assert "Mini-batch" in app.selectbox(key="chosen_by").options  # a list of options reads no Markdown
    answer = open_page(RESULTS, run=run.id, look="SQL", sql="SELECT max(File) AS last FROM predictions")
    assert table(answer)["last"][0] == "0029.csv"
    refused = open_page(RESULTS, run=run.id, look="SQL", sql="COPY predictions TO 'x.csv'")
    assert not refused.exception
    assert "Only a single SELECT" in words(refused.error)


def test_a_view_is_saved_opened_on_another_run_and_removed(open_page, ended, workspace):
    first, second = ended(THREE_CLASSES, name="first"), ended(THREE_CLASSES, name="second")
    app = open_page(RESULTS, run=first.id, filter=Filter(classes=("class 1",)).to_text(), page="1")
    app.session_state["views"] = True
    app.run()
    app.text_input(key="view_name").set_value("![ones](http://x)").run()
    app.button(key="keep_view").click().run()
    assert not app.exception
    other = open_page(RESULTS, run=second.id)
    other.session_state["views"] = True
    other.run()
    other.button(key="view_0").click().run()
    assert not other.exception
    assert list(table(other)["File"]) == ["0001.csv", "0004.csv", "0007.csv"]
    assert other.query_params["run"] == second.id
    other.button(key="remove_view_0").click().run()
    assert workspace.annotations.views() == []


def test_a_filter_that_matches_nothing_is_cleared_by_one_click(open_page, ended):
    run = ended(THREE_CLASSES)
    app = open_page(RESULTS, run=run.id, filter=Filter(text="no such thing").to_text())
    assert "No predictions match" in words(app.info)
    app.button(key="without_0").click().run()
    assert not app.exception
    assert len(table(app)) == 10


@pytest.mark.parametrize("source", [THREE_CLASSES, NUMBERS], ids=["classes", "numbers"])
def test_every_chart_is_drawn(open_page, ended, source):
    run = ended(source)
    for chart in ("Distribution", "Over folders", "Over time", "Two columns"):
        app = open_page(RESULTS, run=run.id, chart=chart)
        assert not app.exception, chart
        assert not app.error, chart
        assert len(app.get("plotly_chart")) == 1, chart


def test_failed_items_are_a_click_away_with_their_errors(open_page, ended):
    app = open_page(RESULTS, run=ended(HALF_BAD).id)
    assert not app.exception
    assert table(app)["File"][0] == "0002.csv"
    app.button(key="show_failed").click().run()
    assert not app.exception
    assert list(table(app)["File"]) == ["0000.csv", "0001.csv"]
    assert ":red[odd] one" in table(app)["Error"][0]


def test_labels_evaluate_the_predictions_and_filter_them(open_page, ended, tmp_path):
    (tmp_path / "truth.csv").write_text("file,label\n" + "".join(f"{n:04}.csv,class {n % 2}\n" for n in range(9)) + "gone.csv,x\n")
    run = ended(THREE_CLASSES)
    app = open_page(RESULTS, run=run.id, look="Evaluation")
    app.text_input(key="labels_path").set_value(str(tmp_path / "truth.csv")).run()
    app.button(key="judge").click().run()
    assert not app.exception
    right = sum(n % 2 == n % 3 for n in range(9))
    assert f"{right / 9:.2%}" in words(app.text)
    assert app.query_params["beside"].startswith("labels:")
    app.button(key=f"rows_Wrong: {9 - right}").click().run()
    assert not app.exception
    assert set(table(app)["Verdict"]) == {"wrong"}
    assert len(table(app)) == 9 - right


def test_of_objects_their_label_is_evaluated_or_the_chosen_column(open_page, ended, tmp_path):
    values = "label=['cat', 'dog'][number % 2], score=number / 7, Change=number, more=[0] * 30, **{'x|y': 1}"
    objects = SCRIPT.format(prediction=f"{{dict({values})}}", before="")
    (tmp_path / "truth.csv").write_text("file,label\n" + "".join(f"{n:04}.csv,cat\n" for n in range(10)))
    app = open_page(RESULTS, run=ended(objects).id)
    assert list(table(app))[:5] == ["File", "label", "score", "Change", "more.0"]
    app.segmented_control(key="look").set_value("Evaluation").run()
    app.text_input(key="labels_path").set_value(str(tmp_path / "truth.csv")).run()
    app.button(key="judge").click().run()
    assert not app.exception
    assert app.selectbox(key="evaluated_column").value == "label"
    assert "50.00%" in words(app.text)
    app.selectbox(key="evaluated_column").set_value("Prediction").run()
    assert not app.exception
    assert "0.00%" in words(app.text)
    assert app.query_params["beside"].endswith(":Prediction")
    app.segmented_control(key="look").set_value("Explore").run()
    assert list(table(app))[:6] == ["File", "Label", "Verdict", "label 2", "score", "Change"]  # the printed text comes last
    app.query_params |= {"row": "2", "columns": "gone|x|y|File"}
    assert not app.run().exception
    assert list(table(app)) == ["x|y", "File"]


def test_items_in_no_folder_are_a_facet_too(open_page, workspace, csv_folder, ended_here):
    folder = csv_folder(3)
    (folder / "deep").mkdir()
    (folder / "0002.csv").rename(folder / "deep" / "0002.csv")
    workspace.register_dataset("d", folder)
    app = open_page(RESULTS, run=ended_here(THREE_CLASSES).id)
    app.button_group(key="facet_Folder").set_value([""]).run()
    assert not app.exception
    assert list(table(app)["File"]) == ["0000.csv", "0001.csv"]


def test_a_file_without_labels_is_rejected(open_page, ended, tmp_path):
    (tmp_path / "one.csv").write_text("one\ncolumn\n")
    app = open_page(RESULTS, run=ended(THREE_CLASSES).id, look="Evaluation")
    app.text_input(key="labels_path").set_value(str(tmp_path / "one.csv")).run()
    assert not app.exception
    assert "fewer than two columns" in words(app.error)
    app.text_input(key="labels_path").set_value(str(tmp_path / "missing.csv")).run()
    assert "be read" in words(app.error)


def test_a_run_without_predictions_shows_its_errors(open_page, ended):
    app = open_page(RESULTS, run=ended("def run(mini_batch): return []\n").id)
    assert not app.exception
    assert "No predictions: 10 items failed" in words(app.info)
    assert "to draw" not in words(app.info)
    assert "Failed: 10" in [button.label for button in app.button]
    app.button(key="show_failures").click().run()
    assert (len(table(app)), "Error" in table(app)) == (10, True)


def test_a_summary_only_run_points_to_its_output(open_page, ended):
    app = open_page(RESULTS, run=ended("def run(mini_batch): return mini_batch\n", output_action="summary_only").id)
    assert not app.exception
    assert "wrote its own output" in words(app.info)


def test_partial_results_of_an_active_run_are_marked(open_page, workspace, start, finish):
    run = start(STOPS_AT_THREE)
    finish(workspace, run.id, until=lambda run: run.items_succeeded)
    app = open_page(RESULTS, run=run.id)
    assert not app.exception
    assert "Partial results, 8 of 10 files left" in words(app.caption)
    assert list(table(app)["File"]) == ["0000.csv", "0001.csv"]
    workspace.runs.cancel(run.id)
    assert finish(workspace, run.id).status is RunStatus.CANCELED


def test_another_run_is_shown_without_the_previous_filters(open_page, ended):
    first, second = ended(THREE_CLASSES, name="first"), ended(THREE_CLASSES, name="second")
    app = open_page(RESULTS, run=first.id, filter=Filter(text="0004").to_text())
    assert len(table(app)) == 1
    app.selectbox(key="chosen_run").select(second.id).run()
    assert not app.exception
    assert app.query_params["run"] == second.id
    assert len(table(app)) == 10


def test_without_a_run_in_the_url_the_newest_is_shown(open_page, ended):
    ended(THREE_CLASSES, name="first")
    newest = ended(THREE_CLASSES, name="![](http://x) :red[x]\nlong" * 40)
    app = open_page(RESULTS)
    assert not app.exception
    assert app.selectbox(key="chosen_run").value == newest.id


def test_an_unknown_run_is_an_error(open_page, ended):
    ended(THREE_CLASSES)
    app = open_page(RESULTS, run="nope")
    assert not app.exception
    assert "There is no run" in words(app.error)


DECIMALS = """
from decimal import Decimal
def run(mini_batch): return [Decimal("0.12345678901234567890") + int(path[-8:-4]) for path in mini_batch]
"""
NAMES_OF_OURS = """
import pandas as pd
def run(mini_batch):
    rows = [{"status": "ok", "worker": 7, "row": 1.0, "Folder": "x", "ok": True, "Prediction": n / 2} for n in range(len(mini_batch))]
    return pd.DataFrame(rows)
"""


def test_numbers_with_more_digits_than_a_slider_has_are_shown_and_filtered_exactly(open_page, ended):
    app = open_page(RESULTS, run=ended(DECIMALS, files=4).id)
    assert not app.exception
    assert not app.slider
    assert list(table(app)["Prediction"])[3] == "3.12345678901234567890"
    app.get_by_key("exact_threshold_Number").set_value("2.1234567890123456789").run()
    assert not app.exception
    assert list(table(app)["File"]) == ["0002.csv", "0003.csv"]
    app.query_params["columns"] = "File|Number"
    app.run()
    assert list(table(app)["Number"]) == ["2.1234567890123456789", "3.1234567890123456789"]


def test_a_scripts_columns_that_are_called_as_ours_are_shown_by_their_names(open_page, ended):
    run = ended(NAMES_OF_OURS, files=4)
    app = open_page(RESULTS, run=run.id, row="2")
    assert not app.exception
    assert set(table(app).columns) == {"File", "Prediction", "status", "worker", "row", "Folder", "ok"}
    assert list(table(app)["row"]) == ["1.0"] * 4
    assert list(table(app)["ok"]) == ["True"] * 4
    for look, chart in (("", "Over folders"), ("", "Over time"), ("Groups", "")):
        assert not open_page(RESULTS, run=run.id, look=look, chart=chart).exception
