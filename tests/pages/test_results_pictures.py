"""The picture beside the table: its charts for every kind of prediction, ranges, the gallery, the numbers that are saved."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime

import pytest
from PIL import Image

from pages import _chart_tools, _results_charts
from services.domain import RunRequest
from services.predictions.filters import Condition, Filter, Operator
from services.settings import ParallelRunSettings
from tests.pages.scripts import NUMBERS, SCRIPT, THREE_CLASSES

pytestmark = pytest.mark.slow  # registers and scores in processes of their own

RESULTS = "results.py"
OBJECTS = SCRIPT.format(
    prediction="{dict(label=['cat', 'dog'][number % 2], probability=number / 10, seen=f'2026-01-{number + 1:02}', ok=number > 4)}",
    before="",
)
PLAIN = SCRIPT.format(prediction="{(ODD)[number % len(ODD)]}", before="")


def specification(app):
    """The figure of the picture."""
    return json.loads(app.get("plotly_chart")[0].proto.spec)


def tools(app):
    """What the menu of the picture was given."""
    return next(data for element in app.get("bidi_component") if "csv" in (data := json.loads(element.proto.json)))


def numbers(app):
    return list(csv.DictReader(io.StringIO(tools(app)["csv"])))


def names(axis):
    return axis["ticktext"]


def test_classes_open_on_their_counts_beside_the_table(open_page, ended):
    app = open_page(RESULTS, run=ended(THREE_CLASSES).id)
    assert not app.exception
    assert names(specification(app)["layout"]["yaxis"]) == ["class 0", "class 1", "class 2"]
    assert numbers(app) == [{"Prediction": f"class {n}", "Rows": str(4 if n == 0 else 3)} for n in range(3)]
    assert len(app.dataframe[0].value) == 10


def test_numbers_open_on_their_distribution(open_page, ended):
    app = open_page(RESULTS, run=ended(NUMBERS).id)
    assert not app.exception
    layout = specification(app)["layout"]
    assert (layout["xaxis"]["title"]["text"], layout["yaxis"]["title"]["text"], tools(app)["brushes"]) == ("Prediction", "Rows", True)
    assert sum(int(row["Rows"]) for row in numbers(app)) == 10


def test_objects_open_on_their_label_and_have_a_score_by_class(open_page, ended):
    run = ended(OBJECTS)
    assert names(specification(open_page(RESULTS, run=run.id))["layout"]["yaxis"]) == ["cat", "dog"]
    app = open_page(RESULTS, run=run.id, chart="Score by class")
    assert not app.exception
    assert [trace["name"] for trace in specification(app)["data"]] == ["cat", "dog"]
    assert {row["label"]: sum(int(r["Rows"]) for r in numbers(app) if r["label"] == row["label"]) for row in numbers(app)} == {
        "cat": 5, "dog": 5,
    }  # fmt: skip
    assert tools(app)["title"] == "probability by label"


def test_dates_are_drawn_over_time_and_truth_values_as_bars(open_page, ended):
    run = ended(OBJECTS)
    app = open_page(RESULTS, run=run.id, x="seen")
    assert not app.exception
    assert specification(app)["layout"]["xaxis"]["type"] == "date"
    assert sum(int(row["Rows"]) for row in numbers(app)) == 10
    app = open_page(RESULTS, run=run.id, x="ok")
    assert [(row["ok"], row["Rows"]) for row in numbers(app)] == [("False", "5"), ("True", "5")]


@pytest.mark.parametrize(
    "values",
    ["[7.25]", "['nan', 'inf', '-inf', 1.5]", "['nan']", "[1e308, -1e308]", "[2**60, 2**60 + 1]", "['y' * 3000, '=1+1', '<b>']"],
    ids=["all equal", "not all finite", "none finite", "the widest", "large whole numbers", "hostile texts"],
)
def test_every_chart_holds_for_odd_values(open_page, ended, values):
    run = ended(PLAIN.replace("ODD", values))
    for chart in ("Distribution", "Over folders", "Over time", "Two columns", "Score by class", "Gallery", "no such chart", "No chart"):
        app = open_page(RESULTS, run=run.id, chart=chart)
        assert not app.exception, chart
        assert len(app.dataframe[0].value) == 10, chart


def test_thirty_classes_are_a_click_away(open_page, ended):
    app = open_page(RESULTS, run=ended(SCRIPT.format(prediction="class {number % 30:02}", before=""), files=90).id)
    assert len(specification(app)["data"][0]["text"]) == 12
    app.button(key="more_bars").click().run()
    assert not app.exception
    assert len(specification(app)["data"][0]["text"]) == 30
    assert app.query_params["all"] == "1"


def test_a_range_is_one_filter_that_stands_out_and_is_undone(open_page, ended):
    chosen = Filter(conditions=(Condition("Number", Operator.FROM, ("0.3",)), Condition("Number", Operator.TO, ("0.6",))))
    app = open_page(RESULTS, run=ended(NUMBERS).id, filter=chosen.to_text())
    assert [button.label for button in app.button if button.key == "without_0"] == ["Prediction 0\\.3 to 0\\.6"]
    assert sum(int(row["Rows"]) for row in numbers(app)) == 10  # the others stay in sight
    first, last = tools(app)["selected"]
    assert 0 < first <= last < len(numbers(app)) - 1
    assert tools(app)["undoable"]
    app.button(key="zoom").click().run()
    assert sum(int(row["Rows"]) for row in numbers(app)) == len(app.dataframe[0].value) < 10
    app.button(key="without_0").click().run()
    assert not app.exception
    assert "filter" not in app.query_params
    assert len(app.dataframe[0].value) == 10


def test_a_brush_goes_to_the_nearest_edges_and_holds_one_bar_at_least():
    edges = [0.0, 0.1, 0.2, 0.3, 0.4]
    assert _results_charts._nearest(edges, 0.09, 0.31) == (1, 2)
    assert _results_charts._nearest(edges, 0.12, 0.13) == (1, 1)
    assert _results_charts._nearest(edges, 0.18, 0.19) == (1, 1)
    assert _results_charts._nearest(edges, -5.0, 7.0) == (0, 3)
    assert _results_charts._nearest(edges, 0.41, 0.5) == (3, 3)


def test_saved_numbers_have_all_their_digits_and_no_formulas():
    saved = _chart_tools.as_csv({"=x": ["=1+1", "@a", "-b", None, "c,d"], "y": [0.1 + 0.2, -3, 2**60, float("nan"), datetime(2026, 1, 2)]})
    assert list(csv.reader(io.StringIO(saved))) == [
        ["'=x", "y"], ["'=1+1", "0.30000000000000004"], ["'@a", "-3"], ["'-b", str(2**60)], ["", "nan"], ["c,d", "2026-01-02 00:00:00"],
    ]  # fmt: skip


# ---- gallery ----------------------------------------------------------------------------------------------------------------------------

LABELS = "import os, json\ndef run(m): return [json.dumps(dict(file=os.path.basename(p), label='=cat', probability=0.75)) for p in m]"


@pytest.fixture
def images(workspace, kept_runs):
    """A completed run over 60 images, of which one is none."""

    def submit(kept, folder):
        (folder / "images").mkdir()
        for number in range(60):
            Image.new("RGB", (300, 200), (number * 4, 0, 0)).save(folder / "images" / f"{number:02}.png")
        (folder / "images" / "00.png").write_text("no image")
        (folder / "script.py").write_text(LABELS)
        kept.register_dataset("d", folder / "images")
        settings = ParallelRunSettings(process_count_per_node=1)
        return kept.submit(RunRequest((), ("d",), str(folder / "script.py"), settings))

    return kept_runs.copy_into(workspace, "images", submit)


def gallery(app):
    return next(data for element in app.get("bidi_component") if "items" in (data := json.loads(element.proto.json)))


def test_a_gallery_has_the_pictures_of_the_page_with_their_predictions(open_page, images, get):
    app = open_page(RESULTS, run=images.id, chart="Gallery")
    assert not app.exception
    items = gallery(app)["items"]
    assert (len(items), len(app.dataframe[0].value)) == (48, 48)  # the same rows
    assert {name: items[1][name] for name in ("name", "prediction", "score")} == {"name": "01.png", "prediction": "=cat", "score": "0.75"}
    status, headers, body = get(items[1]["url"])
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "image/webp", "private, max-age=600")
    with Image.open(io.BytesIO(body)) as small:
        assert small.size == (240, 160)
    status, _, body = get(items[0]["url"])
    assert status == 422
    assert "not an image" in body.decode()
    app.get_by_key("page").set_value(2).run()
    assert [item["name"] for item in gallery(app)["items"]] == [f"{number:02}.png" for number in range(48, 60)]
    assert gallery(open_page(RESULTS, run=images.id, chart="Gallery", row="50", page="2"))["open"] == 1


def test_a_thumbnail_is_only_of_a_row_that_was_shown(open_page, images, get):
    url = gallery(open_page(RESULTS, run=images.id, chart="Gallery"))["items"][1]["url"]
    for forged in (url.replace("01.png", "02.png"), url.replace("01.png", "..%2F..%2Fetc%2Fpasswd"), url[:-1] + "x", "downloads/thumbnail"):
        assert get(forged)[0] == 403


def test_only_images_have_a_gallery(open_page, ended):
    app = open_page(RESULTS, run=ended(THREE_CLASSES).id)
    assert "Gallery" not in app.selectbox(key="chosen_chart").options
