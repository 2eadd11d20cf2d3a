"""The evaluation of runs over a table by a column of its own: its figures, its slices, all runs of the dataset, two of them compared."""

from textwrap import dedent

import pytest

from services.domain import ResourceKind, RunRequest
from services.predictions.evaluation import BEFORE
from services.predictions.filters import Filter
from services.settings import ParallelRunSettings

pytestmark = pytest.mark.slow  # each looks at runs and their tables

ROWS = 300
SCRIPT = """
    import pandas
    def run(rows):
        right = rows["churned"]
        wrong = {wrong}
        prediction = [("no" if truth == "yes" else "yes") if bad else truth for truth, bad in zip(right, wrong)]
        return pandas.DataFrame({{"prediction": prediction, "probability": [0.6 + (n % 40) / 100 for n in rows["number"]]}})
"""
NUMBERS = "def run(rows): return list(rows['number'] * 1.5 + (rows['half'] == 'second') * 40)"


@pytest.fixture
def scored(workspace, kept_runs):
    """`scored("rows['number'] % 10 == 0")` is a run over the table `t` that is wrong in these rows."""

    def run(wrong, script=SCRIPT):
        def submit(kept, folder):
            lines = (f"{n},{'yes' if n % 3 == 0 else 'no'},{'first' if n < ROWS / 2 else 'second'},{n * 1.5 + n % 7}" for n in range(ROWS))
            (folder / "t.csv").write_text("number,churned,half,spend\n" + "\n".join(lines) + "\n")
            kept.register_dataset("t", folder / "t.csv", type="tabular")
            (folder / "script.py").write_text(dedent(script.format(wrong=wrong)))
            return kept.submit(RunRequest((), ("t",), str(folder / "script.py"), ParallelRunSettings(process_count_per_node=1)))

        return kept_runs.copy_into(workspace, (wrong, script), submit)

    return run


def words(elements):
    return " ".join(str(element.value) for element in elements)


def tables(app):
    return [frame.value for frame in app.dataframe]


def test_a_column_of_the_dataset_is_chosen_as_its_labels(open_page, scored):
    run = scored("(rows['number'] % 10 == 0) | ((rows['half'] == 'second') & (rows['number'] % 2 == 0))")
    app = open_page("results.py", run=run.id, look="Evaluation")
    assert not app.exception
    app.selectbox(key="labels_column").set_value("churned").run()
    app.button(key="judge_column").click().run()
    assert not app.exception
    assert "70.00%" in words(app.text)
    assert app.query_params["beside"].startswith("labels:")
    slices = next(frame for frame in tables(app) if "Slice" in frame)
    assert slices["Slice"][0].startswith("half: second")
    assert "ROC AUC" in words(app.caption)
    assert "Expected calibration error" in words(app.caption)
    app.slider[0].set_value(0.8).run()
    assert not app.exception
    app.segmented_control(key="look").set_value("Explore").run()
    assert {"half", "spend", "Label", "Verdict"} <= set(tables(app)[0])


def test_numbers_are_judged_by_their_distance(open_page, scored, workspace):
    run = scored("", NUMBERS)
    workspace.add_labels("t", column="spend")
    app = open_page("results.py", run=run.id, look="Evaluation")
    assert not app.exception
    assert "MAE" in words(app.caption)
    assert "half: second" in set(next(frame for frame in tables(app) if "Slice" in frame)["Slice"])


def test_labels_that_are_no_numbers_judge_no_numbers(open_page, scored, workspace):
    run = scored("", NUMBERS)
    workspace.add_labels("t", column="churned")
    app = open_page("results.py", run=run.id, look="Evaluation")
    assert not app.exception
    assert "can't be compared" in words(app.warning)
    assert "numbers and the labels are words" in workspace.leaderboard("t").scores[0].note


def test_the_page_of_a_dataset_has_its_labels_and_leaderboard(open_page, scored, workspace):
    scored("rows['number'] % 10 == 0")
    app = open_page("registered_datasets.py", dataset="t:1")
    app.session_state["leaderboard"] = True
    app.run()
    assert not app.exception
    assert "no labels yet" in words(app.caption).replace("\\", "")
    app.selectbox(key="labels_column").set_value("churned").run()
    app.button(key="judge_column").click().run()
    assert not app.exception
    board = next(frame for frame in tables(app) if "Accuracy" in frame)
    assert list(board["Accuracy"]) == [90.0]
    assert list(board["Judged"]) == [ROWS]


def test_two_runs_are_compared_by_accuracy_and_where_the_newer_is_worse(open_page, scored, workspace):
    older = scored("rows['number'] % 10 == 0")
    newer = scored("(rows['half'] == 'second') & (rows['number'] % 3 == 1)")
    workspace.add_labels("t", column="churned")
    app = open_page("compare.py", run=newer.id, **{"with": older.id})
    assert not app.exception
    figures = next(frame for frame in tables(app) if "Accuracy" in frame)
    assert [round(value, 2) for value in figures["Accuracy"]] == [83.33, 90.0]
    worse = next(frame for frame in tables(app) if "Worse by" in frame)
    assert "half: second" in set(worse["Slice"])
    app.button(key="rows_Newly wrong").click().run()
    assert not app.exception
    assert app.query_params["beside"].startswith("both:")
    assert {condition.column for condition in Filter.from_text(app.query_params["filter"]).conditions} == {"Verdict", BEFORE[0]}
    shown = tables(app)[0]
    assert set(shown["half"]) == {"second"}
    assert set(shown[BEFORE[0]]) == {"correct"}


def test_runs_of_a_deleted_dataset_stay_judged_and_open(open_page, scored, workspace):
    older, newer = scored("rows['number'] % 5 == 0"), scored("rows['number'] % 10 == 0")
    workspace.add_labels("t", column="churned")
    workspace.resources.delete(ResourceKind.DATASET, ["t:1"])
    app = open_page("results.py", run=newer.id, look="Evaluation")
    assert not app.exception
    assert "90.00%" in words(app.text)
    for page, address in (
        ("results.py", {"run": newer.id}),
        ("runs.py", {"run": newer.id}),
        ("runs.py", {"run": newer.id, "view": "Lineage"}),
        ("compare.py", {"run": newer.id, "with": older.id}),
        ("registered_datasets.py", {}),
        ("home.py", {}),
    ):
        app = open_page(page, **address)
        assert not app.exception, (page, app.exception)
