from __future__ import annotations

from pathlib import Path

import pytest

from services.predictions.filters import Filter

pytestmark = pytest.mark.slow  # each looks at two runs and their tables

COMPARE = "compare.py"
SCRIPT = """
    import os
    def run(mini_batch):
        return [f"{{os.path.basename(path)}}: {prediction}" for path in mini_batch]
"""


@pytest.fixture
def ended(ended):
    """`ended("cat")` is a completed run over ten files, whose script returns this expression over `path` for each."""
    return lambda prediction, name="", **settings: ended(SCRIPT.format(prediction=prediction), name=name, **settings)


def words(elements):
    return " ".join(str(element.value) for element in elements)


def test_comparing_takes_two_runs(open_page, ended):
    ended("1")
    app = open_page(COMPARE)
    assert not app.exception
    assert "two runs" in words(app.info)


def test_two_runs_show_different_settings_and_predictions(open_page, ended):
    older = ended("{'cat' if path[-5] != '7' else 'dog'}", mini_batch_size="5")
    newer = ended("{'cat' if path[-5] != '2' else '![](http://x)'}", mini_batch_size="3", name="![](http://x) :red[x]")
    app = open_page(COMPARE, run=newer.id, **{"with": older.id})
    assert not app.exception
    differ = app.dataframe[0].value
    assert "mini_batch_size" in list(differ["Setting"])
    assert list(differ[differ["Setting"] == "mini_batch_size"]["Newer run"]) == ["3"]
    changes = app.dataframe[1].value
    assert sorted(zip(changes["From"], changes["To"], changes["Rows"], strict=True)) == [("cat", "![](http://x)", 1), ("dog", "cat", 1)]
    assert "too few" in words(app.warning)


def chosen(app):
    """(older, newer) as they stand on the page."""
    assert not app.exception
    return tuple(picker.value for picker in app.selectbox[:2])


def test_the_older_run_is_always_the_one_submitted_before(open_page, ended):
    first, second, third = (ended(text).id for text in "123")
    for given, pair in (
        ({}, (second, third)), ({"run": second}, (first, second)), ({"run": first}, (first, third)),
        ({"run": first, "with": second}, (first, second)), ({"run": third, "with": first}, (first, third)),
    ):  # fmt: skip
        app = open_page(COMPARE, **given)
        assert chosen(app) == pair
        assert (app.query_params["with"], app.query_params["run"]) == pair


def test_a_newer_run_may_be_chosen_that_is_older_than_the_other(open_page, ended):
    first, second, third = (ended(text).id for text in "123")
    app = open_page(COMPARE, run=third, **{"with": second})
    app.selectbox[1].select(second).run()
    assert chosen(app) == (first, second)
    app.selectbox[1].select(third).run()
    assert chosen(app) == (first, third)


def test_a_file_changed_between_two_runs_is_a_difference(open_page, ended_here, finish, workspace):
    older = ended_here(SCRIPT.format(prediction="1"))
    (Path(workspace.datasets()[0].root) / "0003.csv").write_text("1,2,3,4")
    newer, same = (finish(workspace, workspace.rerun(older.id).id) for _ in "12")
    app = open_page(COMPARE, run=newer.id, **{"with": older.id})
    differ = app.dataframe[0].value
    assert list(differ["Setting"]) == ["files of the dataset, changed since it was registered"]
    assert list(differ["Older run"]) == ["none"]
    app = open_page(COMPARE, run=same.id, **{"with": newer.id})
    assert "with the same contents" in words(app.caption)


def test_the_changed_rows_open_with_the_older_predictions(open_page, ended):
    older, newer = ended("cat"), ended("{'cat' if path[-5] != '2' else 'dog'}")
    app = open_page(COMPARE, run=newer.id, **{"with": older.id})
    app.button(key="rows_Changed: 1").click().run()
    assert not app.exception
    assert app.query_params["beside"] == f"run:{older.id}"
    rows = app.dataframe[0].value
    assert (list(rows["File"]), list(rows["Before"]), list(rows["Prediction"])) == (["0002.csv"], ["cat"], ["dog"])
    assert Filter.from_text(app.query_params["filter"]).conditions[0].column == "Change"


def test_numbers_are_compared_by_their_distribution(open_page, ended):
    older, newer = ended("{int(path[-8:-4]) * 0.5}"), ended("{int(path[-8:-4]) * 1.5}")
    app = open_page(COMPARE, run=newer.id, **{"with": older.id})
    assert not app.exception
    assert "Kolmogorov" in words(app.caption)


def test_a_missing_run_in_the_url_is_replaced_by_an_existing_one(open_page, ended):
    ended("cat")
    ended("dog")
    app = open_page(COMPARE, run="nope", **{"with": "../../x"})
    assert not app.exception
    assert len(app.selectbox) == 2


def test_the_compared_column_is_in_the_url_of_its_rows(open_page, ended):
    older, newer = ended("{dict(label='cat', score=0.5)}"), ended("{dict(label='cat', score=0.25)}")
    app = open_page(COMPARE, run=newer.id, **{"with": older.id})
    assert not app.exception
    column = next(box for box in app.selectbox if box.label == "Compared column")
    assert (column.value, [button.label for button in app.button]) == ("label", [])
    column.select("score").run()
    assert app.query_params["column"] == "score"
    app.button(key="rows_Changed: 10").click().run()
    assert not app.exception
    assert app.query_params["beside"] == f"run:{older.id}:score"
    assert set(app.dataframe[0].value["Change"]) == {"changed"}


def test_predictions_of_different_structure_are_compared_as_texts(open_page, ended):
    older, newer = ended("cat"), ended("{dict(label='cat', score=0.25)}")
    app = open_page(COMPARE, run=newer.id, **{"with": older.id})
    assert not app.exception
    assert "compared as whole texts" in words(app.info)
