from __future__ import annotations

import asyncio
import csv
import io
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from starlette.applications import Starlette

from pages._downloads import ROUTES
from services.domain import RunRequest, RunStatus
from services.settings import ParallelRunSettings

RESULTS = "results.py"
SCRIPT = """
    import os, time
    def predict(path):
        name, number = os.path.basename(path), int(os.path.basename(path)[:4])
        return f"{{name}}: {prediction}"
    def run(mini_batch):
        {before}
        return [predict(path) for path in mini_batch]
"""
THREE_CLASSES = SCRIPT.format(prediction="class {number % 3}", before="")
NUMBERS = SCRIPT.format(prediction="{number / 7}", before="")
HALF_BAD = SCRIPT.format(prediction="1", before="assert '0001' not in str(mini_batch), ':red[odd] one'")
STOPS_AT_THREE = SCRIPT.format(prediction="1", before="while '0003' in str(mini_batch): time.sleep(0.01)")


@pytest.fixture
def start(workspace, csv_folder, entry_script):
    """`start(source, files=10)` submits a run over so many files, one a mini-batch of two."""

    def submit(source, files=10, name="", **settings):
        if not workspace.datasets():
            workspace.register_dataset("d", csv_folder(files))
        values = {"mini_batch_size": "2", "process_count_per_node": 1, "run_max_try": 1} | settings
        return workspace.submit(RunRequest((), ("d",), str(entry_script(source)), ParallelRunSettings(**values), name=name))

    return submit


@pytest.fixture
def ended(start, finish, workspace):
    """`ended(source, ...)` is `start` to the end."""
    return lambda *args, **kwargs: finish(workspace, start(*args, **kwargs).id)


@pytest.fixture
def get(home, monkeypatch):
    """`get(address)` asks the download routes; returns status, headers and body."""
    monkeypatch.setenv("BATCH_SCORING_HOME", str(home))

    def ask(address):
        path, query = urlsplit(address).path, urlsplit(address).query
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": f"/{path}", "raw_path": path.encode(), "query_string": query.encode(), "headers": [], "root_path": "",
        }  # fmt: skip
        sent = []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        asyncio.run(Starlette(routes=ROUTES)(scope, receive, send))
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])

    return ask


def words(elements):
    return " ".join(str(element.value) for element in elements)


def table(app, position=0):
    return app.dataframe[position].value


def csv_address(app):
    return next(link.url for link in app.link_button if link.value == "Download CSV")


def test_without_runs_the_page_says_so_and_leads_to_a_new_one(open_page):
    app = open_page(RESULTS)
    assert not app.exception
    assert "no results" in words(app.info)
    assert [link.value for link in app.page_link] == ["Start a run"]


def test_predictions_are_shown_in_pages_of_a_hundred_and_counted(open_page, ended):
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


def test_text_and_class_filter_the_table_and_the_download(open_page, ended, get):
    run = ended(THREE_CLASSES, files=230, mini_batch_size="50")
    app = open_page(RESULTS, run=run.id)
    app.text_input(key="text").set_value("2.CSV").run()
    app.multiselect(key="class").set_value(["class 0", "class 1"]).run()
    assert not app.exception
    wanted = [name for name in (f"{n:04}.csv" for n in range(230) if n % 3 < 2) if "2.csv" in name]
    assert list(table(app)["File"]) == wanted
    assert f"**{len(wanted)}** of 230 predictions" in words(app.markdown)
    address = csv_address(app)
    assert parse_qs(urlsplit(address).query) == {"run": [run.id], "text": ["2.CSV"], "class": ["class 0", "class 1"]}
    status, headers, body = get(address)
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    assert (status, [row["File"] for row in rows]) == (200, wanted)
    assert {row["Prediction"] for row in rows} == {"class 0", "class 1"}
    assert headers["content-encoding"] == "identity"
    assert headers["x-content-type-options"] == "nosniff"
    assert "2.CSV.csv" in headers["content-disposition"]
    assert headers["content-disposition"].startswith("attachment; filename*=utf-8''")


def test_a_link_opens_the_filtered_table(open_page, ended):
    run = ended(THREE_CLASSES)
    app = open_page(RESULTS, run=run.id, text="0004", **{"class": "class 1"})
    assert list(table(app)["File"]) == ["0004.csv"]


def test_a_filter_that_matches_nothing_says_so_and_is_cleared_by_one_click(open_page, ended):
    run = ended(THREE_CLASSES)
    app = open_page(RESULTS, run=run.id, text="no such thing")
    assert "No prediction matches" in words(app.info)
    next(button for button in app.button if button.label == "Clear filters").click().run()
    assert not app.exception
    assert len(table(app)) == 10


def test_a_class_that_is_not_there_any_more_filters_nothing(open_page, ended):
    app = open_page(RESULTS, run=ended(THREE_CLASSES).id, **{"class": "gone"})
    assert not app.exception
    assert len(table(app)) == 10


def test_classes_are_charted_and_numbers_get_a_histogram(open_page, ended):
    classes = open_page(RESULTS, run=ended(THREE_CLASSES).id)
    assert "Predictions per class" in words(classes.markdown)
    numbers = open_page(RESULTS, run=ended(NUMBERS).id)
    assert not numbers.exception
    assert "How the predictions spread" in words(numbers.markdown)
    assert len(classes.get("plotly_chart")) == len(numbers.get("plotly_chart")) == 1


def test_failed_files_stand_in_a_table_of_their_own_with_their_error(open_page, ended):
    app = open_page(RESULTS, run=ended(HALF_BAD).id)
    assert not app.exception
    assert "Failed: 2" in words(app.subheader)
    assert list(table(app, 1)["File"]) == ["0000.csv", "0001.csv"]
    assert ":red[odd] one" in table(app, 1)["Error"][0]
    assert table(app)["File"][0] == "0002.csv"


def test_a_run_that_predicted_nothing_says_so(open_page, ended):
    app = open_page(RESULTS, run=ended("def run(mini_batch): return []\n").id)
    assert not app.exception
    assert "predicted nothing" in words(app.info)
    assert "Failed: 10" in words(app.subheader)


def test_a_run_that_keeps_its_own_output_says_where_that_is(open_page, ended):
    app = open_page(RESULTS, run=ended("def run(mini_batch): return mini_batch\n", output_action="summary_only").id)
    assert not app.exception
    assert "wrote its own output" in words(app.info)


def test_partial_results_of_a_running_run_are_shown_as_such(open_page, workspace, start, finish):
    run = start(STOPS_AT_THREE)
    finish(workspace, run.id, until=lambda run: run.items_succeeded)
    app = open_page(RESULTS, run=run.id)
    assert not app.exception
    assert "Partial results, 8 of 10 files to go" in words(app.caption)
    assert list(table(app)["File"]) == ["0000.csv", "0001.csv"]
    workspace.cancel(run.id)
    assert finish(workspace, run.id).status is RunStatus.CANCELED


def test_another_run_is_shown_without_the_filters_of_the_one_before(open_page, ended):
    first, second = ended(THREE_CLASSES, name="first"), ended(THREE_CLASSES, name="second")
    app = open_page(RESULTS, run=first.id, text="0004")
    assert len(table(app)) == 1
    app.selectbox(key="chosen_run").select(second.id).run()
    assert not app.exception
    assert app.query_params["run"] == second.id
    assert len(table(app)) == 10


def test_without_a_run_in_the_address_the_newest_is_shown(open_page, ended):
    ended(THREE_CLASSES, name="first")
    newest = ended(THREE_CLASSES, name="![](http://x) :red[x]\nlong" * 40)
    app = open_page(RESULTS)
    assert not app.exception
    assert app.selectbox(key="chosen_run").value == newest.id


def test_a_run_that_is_not_there_is_said(open_page, ended):
    ended(THREE_CLASSES)
    app = open_page(RESULTS, run="nope")
    assert not app.exception
    assert "There is no run" in words(app.error)


def test_the_file_as_the_run_wrote_it_is_downloaded_and_no_other(ended, get, workspace):
    run = ended(THREE_CLASSES)
    status, headers, body = get(f"downloads/output?run={run.id}&name=parallel_run_step.txt")
    assert (status, body) == (200, workspace.output(run.id)["parallel_run_step.txt"].read_bytes())
    assert headers["content-length"] == str(len(body))
    assert headers["content-disposition"] == "attachment; filename*=utf-8''parallel_run_step.txt"
    for name in ("../plan.json", "/etc/passwd", "..", "", "parallel_run_step.txt\0"):
        assert get(f"downloads/output?{urlencode({'run': run.id, 'name': name})}")[0] == 404


@pytest.mark.parametrize("path", ["predictions.csv", "output"])
@pytest.mark.parametrize("run", ["nope", "../../x", "", "%ED%B3%BF"])
def test_a_download_of_an_unknown_run_is_refused_in_words(get, workspace, path, run):
    status, headers, body = get(f"downloads/{path}?run={run}&name=x")
    assert (status, headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert b"There is no run" in body


def test_the_download_is_named_after_the_run_and_the_filter(ended, get):
    run = ended(THREE_CLASSES, name='evil\r\nSet-Cookie: a=b; "../../x" <b>ünï</b>')
    _, headers, _ = get(f"downloads/predictions.csv?run={run.id}&class=class+1")
    name = headers["content-disposition"].partition("''")[2]
    assert "/" not in name
    assert '"' not in name
    assert "%C3%BCn%C3%AF" in name
    assert name.endswith("class%201.csv")
