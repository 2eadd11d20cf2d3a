"""Whether a model can score a dataset, by which scorer and from which columns: decided from what is known, and said in words."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest

from services.domain import (
    ROW_KINDS,
    DatasetProblem,
    Environment,
    FileDataset,
    ItemKind,
    Model,
    ModelCard,
    ModelInput,
    TabularDataset,
    utc_now,
)
from services.errors import SettingsError
from services.scoring.column_matching import column_types
from services.scoring.fit import fit
from services.scoring.scorers import DATAFRAME_HEADER, SCORERS, ScorerOptions, scorer_at, split_input

PIPELINE = ModelCard(
    "scikit-learn", "scikit-learn", "1.9.1", "classification", ROW_KINDS,
    (ModelInput("age", "number"), ModelInput("city", "text"), ModelInput("income", "number")), 3, ("no", "yes"), True,
)  # fmt: skip
UNNAMED = replace(PIPELINE, inputs=())
MODEL = Model("churn", 1, "/m", 9, "ab" * 32, "joblib (pickle)", utc_now(), approved=True)


def table(**columns):
    return TabularDataset("t", 1, "/rows", "**", True, 1, 9, "", "", utc_now(), columns=tuple(columns.items()), row_count=10)


def files(kind):
    return FileDataset("d", 3, "/data", "**", True, 4, 9, "", "", utc_now(), item_kind=kind)


def columns_of(result):
    return {match.input: (match.column, match.by) for match in result.columns}


def test_columns_are_matched_by_name_whatever_their_order():
    result = fit(PIPELINE, table(income="float64", id="int64", age="int64", city="str"))
    assert result.fits
    assert str(result.scorer) == "score_tables"
    assert columns_of(result) == {"age": ("age", "name"), "city": ("city", "name"), "income": ("income", "name")}
    assert result.unused == ("id",)
    assert result.extra == "1 column is not used: id."
    assert result.arguments == ("--append_row_dataframe_header", "True")


def test_the_keys_of_a_partition_format_are_columns_too():
    dataset = replace(table(age="int64", income="float64"), partition_format="{city}/{when:yyyy/MM/dd}/part.csv")
    result = fit(PIPELINE, dataset, ScorerOptions(keep=("when",)))
    assert result.fits
    assert columns_of(result)["city"] == ("city", "name")


def test_a_choice_beside_a_column_of_the_inputs_own_name_is_said():
    chosen = ScorerOptions(inputs={"age": "years"})
    beside = fit(PIPELINE, table(age="int64", years="int64", city="str", income="float64"), chosen)
    assert columns_of(beside)["age"] == ("years", "choice")
    assert "though there are some of the inputs’ own names: “years” as “age”" in beside.warnings[0]
    assert not fit(PIPELINE, table(years="int64", city="str", income="float64"), chosen).warnings


def test_a_date_is_no_number():
    result = fit(PIPELINE, replace(table(age="datetime64[us]", city="str", income="float64"), column_types=("date", "text", "number")))
    assert not result.fits
    assert "column “age” is a date, and the model’s input “age” is a number" in result.problems[0].what


def test_names_spelled_otherwise_are_matched_and_said():
    result = fit(PIPELINE, table(**{"AGE": "int64", "City ": "str", "in_come": "float64"}))
    assert result.fits
    assert columns_of(result) == {"age": ("AGE", "similar name"), "city": ("City ", "similar name"), "income": ("in_come", "similar name")}
    assert "“AGE” as “age”" in result.warnings[0]
    assert result.arguments[:6] == ("--input", "age=AGE", "--input", "city=City ", "--input", "income=in_come")


def test_two_columns_of_similar_names_are_never_guessed_between():
    result = fit(PIPELINE, table(Age="int64", AGE="int64", city="str", income="float64"))
    assert [problem.where for problem in result.problems] == ["inputs"]
    assert "no column for the model’s input “age”" in result.problems[0].what


def test_a_missing_column_is_a_problem_that_a_choice_fixes():
    data = table(years="int64", city="str", income="float64", id="int64")
    result = fit(PIPELINE, data)
    assert not result.fits
    with pytest.raises(SettingsError, match="t:1 has no column for the model’s input “age”") as refused:
        result.check()
    assert refused.value.field == "inputs"
    assert "--input age=COLUMN" in refused.value.hint
    fixed = fit(PIPELINE, data, ScorerOptions(inputs={"age": "years"}))
    assert fixed.fits
    assert columns_of(fixed)["age"] == ("years", "choice")
    assert fixed.arguments[:2] == ("--input", "age=years")


@pytest.mark.parametrize(
    ("options", "where", "what"),
    [
        (ScorerOptions(inputs={"age": "nowhere"}), "inputs", "t:1 has no column “nowhere”, which was chosen for the input “age”"),
        (ScorerOptions(inputs={"agee": "age"}), "inputs", "the model has no input “agee”"),
        (ScorerOptions(keep=("ide",)), "keep", "t:1 has no column “ide”"),
        (ScorerOptions(scorer="score_images"), "scorer", "score_images scores images, and t:1 holds rows of a table"),
    ],
)
def test_choices_of_what_is_not_there_are_refused_at_their_field(options, where, what):
    result = fit(PIPELINE, table(age="int64", city="str", income="float64", id="int64"), options)
    assert [(problem.where, problem.what) for problem in result.problems] == [(where, what)]


def test_text_where_a_number_is_wanted_is_a_problem_and_the_reverse_a_warning():
    result = fit(PIPELINE, table(age="str", city="int64", income="float64"))
    assert [problem.what for problem in result.problems] == ["column “age” is text, and the model’s input “age” is a number"]
    assert "“city” is a whole number, not text" in result.warnings[0]


def test_no_name_in_common_is_taken_by_order_and_said():
    result = fit(PIPELINE, table(a="int64", b="str", c="float64"))
    assert result.fits
    assert columns_of(result) == {"age": ("a", "order"), "city": ("b", "order"), "income": ("c", "order")}
    assert "taken in their order: a as age, b as city, c as income" in result.warnings[0]
    assert "--by-order" in result.arguments


def test_a_model_without_names_takes_as_many_columns_as_it_has_in_order():
    result = fit(replace(UNNAMED, inspected_in="scoring:3"), table(a="int64", b="int64", c="float64"))
    assert result.fits
    assert "doesn’t name its inputs" in result.warnings[0]
    assert columns_of(result) == {"1": ("a", "order"), "2": ("b", "order"), "3": ("c", "order")}


def test_a_model_that_was_not_loaded_yet_may_know_names_so_no_order_is_forced():
    for options in (ScorerOptions(), ScorerOptions(keep=("a",))):
        result = fit(UNNAMED, table(**dict.fromkeys(("c", "b", "a", "id")[: 3 + len(options.keep)], "int64")), options)
        assert result.fits
        assert "is known once it is loaded" in result.warnings[0]
        assert not {"--by-order", "--input"} & set(result.arguments)


def test_an_input_with_an_equals_sign_in_its_name_can_be_chosen_on_the_command_line():
    names = ["city", "city=Rome"]
    assert split_input("city=Rome=is rome", names) == ("city=Rome", "is rome")
    assert split_input("city=town", names) == ("city", "town")
    assert split_input("age=years=old", names) == ("age", "years=old")


def test_a_model_without_names_takes_the_columns_that_are_not_kept():
    data = table(id="int64", a="int64", b="int64", c="float64")
    refused = fit(UNNAMED, data)
    assert refused.problems[0].what == "t:1 has 4 columns, and the model takes 3, which it doesn’t name"
    result = fit(UNNAMED, data, ScorerOptions(keep=("id",)))
    assert result.fits
    assert columns_of(result) == {"1": ("a", "order"), "2": ("b", "order"), "3": ("c", "order")}
    assert result.arguments[:2] == ("--keep", "id")


def test_what_is_not_known_of_a_model_is_a_warning():
    result = fit(ModelCard("scikit-learn"), table(a="int64"))
    assert result.fits
    assert "isn’t known" in result.warnings[0].replace("'", "’")


def test_a_model_of_texts_takes_the_only_column_of_text():
    texts = ModelCard("scikit-learn", task="classification", takes=(ItemKind.TEXT,))
    result = fit(texts, table(id="int64", review="str"))
    assert result.fits
    assert result.arguments[:2] == ("--input", "text=review")
    undecided = fit(texts, table(title="str", review="str"))
    assert undecided.problems[0].where == "inputs"
    assert fit(texts, table(title="str", review="str"), ScorerOptions(inputs={"text": "title"})).fits


@pytest.mark.parametrize(
    ("card", "kind", "scorer"),
    [
        (UNNAMED, ItemKind.ROW_FILE, "batch_scoring_script"),
        (PIPELINE, ItemKind.ROW_FILE, "score_rows"),
        (replace(UNNAMED, format="onnx"), ItemKind.ROW_FILE, "score_rows"),
        (UNNAMED, ItemKind.HEADED_ROW_FILE, "score_rows"),
        (ModelCard("onnx", takes=(ItemKind.IMAGE,)), ItemKind.IMAGE, "score_images"),
        (ModelCard("scikit-learn", takes=(ItemKind.TEXT,)), ItemKind.TEXT, "score_texts"),
        (UNNAMED, ItemKind.OTHER, "batch_scoring_script"),
    ],
)
def test_each_kind_of_item_has_its_scorer(card, kind, scorer):
    result = fit(card, files(kind), model=MODEL)
    assert result.fits
    assert str(result.scorer) == scorer
    assert result.scorer == scorer_at(result.scorer.path)


@pytest.mark.parametrize(
    ("card", "kind", "what"),
    [
        (PIPELINE, ItemKind.TABLE_FILE, "each file of d:3 holds many rows, and a file dataset is scored file by file"),
        (PIPELINE, ItemKind.IMAGE, "d:3 holds images, and churn:1 takes rows of a table"),
        (ModelCard("onnx", takes=(ItemKind.IMAGE,)), ItemKind.ROW_FILE, "d:3 holds files of one row of numbers, and churn:1 takes images"),
    ],
)
def test_items_that_the_model_does_not_take_are_refused(card, kind, what):
    result = fit(card, files(kind), model=MODEL)
    assert [(problem.where, problem.what) for problem in result.problems] == [("dataset", what)]
    assert result.scorer is None
    assert result.problems[0].hint


def test_a_missing_package_is_a_problem_and_another_version_a_warning():
    card = replace(PIPELINE, requirements=("scikit-learn==1.3.2", "XGBoost>=2", "category_encoders"))
    here = Environment("", 0, "python", "3.12.1", {"scikit_learn": "1.9.1", "xgboost-cpu": "3.0"}, utc_now())
    result = fit(card, table(age="int64", city="str", income="float64"), environment=here)
    assert [problem.where for problem in result.problems] == ["environment"]
    assert result.wants_environment
    assert result.problems[0].what.startswith("category-encoders is not installed in this program’s own environment")
    assert "scikit-learn 1.3.2 (here 1.9.1)" in result.warnings[0]
    assert fit(replace(card, inspected_in=""), table(age="int64", city="str", income="float64"), environment=here).fits


def test_an_mlflow_model_cannot_work_where_mlflow_is_missing():
    card = replace(PIPELINE, format="mlflow", requirements=("mlflow==3.1.0", "scikit-learn==1.9.1", "matplotlib==3.9.0"))
    rows = table(age="int64", city="str", income="float64")
    here = Environment("", 0, "python", "3.12.1", {"scikit-learn": "1.9.1"}, utc_now())
    assert [problem.where for problem in fit(card, rows, environment=here).problems] == ["environment"]
    there = replace(here, packages={"scikit-learn": "1.9.1", "mlflow-skinny": "3.1.0"})
    assert fit(card, rows, environment=there).fits


def test_a_program_is_refused_until_it_is_approved_where_that_is_asked():
    model = replace(MODEL, approved=False)
    data = table(age="int64", city="str", income="float64")
    assert fit(PIPELINE, data, model=model).fits
    result = fit(PIPELINE, data, model=model, approval=True)
    assert result.problems[0].where == "model"
    assert "model approve churn:1" in result.problems[0].hint


def test_probabilities_that_a_model_does_not_give_are_refused():
    card = replace(PIPELINE, task="regression", has_probabilities=False)
    data = table(age="int64", city="str", income="float64")
    assert [p.where for p in fit(card, data, ScorerOptions(top=3)).problems] == ["top"]
    assert [p.where for p in fit(card, data, ScorerOptions(probabilities="all")).problems] == ["probabilities"]
    assert fit(card, data, ScorerOptions(probabilities="off")).fits


def test_odd_files_are_a_warning():
    odd = replace(files(ItemKind.ROW_FILE), problems=(DatasetProblem("a.csv", "it is empty"),))
    assert "1 file of d:3 may fail: a.csv: it is empty" in fit(UNNAMED, odd).warnings


def test_thirty_thousand_columns_are_matched_at_once():
    names = [f"gene {number}" for number in range(30_000)]
    card = replace(PIPELINE, inputs=tuple(ModelInput(name, "number") for name in names))
    result = fit(card, table(**dict.fromkeys([name.upper() for name in names[:-1]], "float64")))
    assert len(result.problems) == 1
    assert len(result.columns) == 30_000
    lost = fit(card, table(**{"gene 7": "float64", "other": "str"}))
    assert len(lost.problems) < 30


@pytest.mark.parametrize("name", ["a=b", "", "-x", "--output", "x, y", "'\"", "a\nb", "=1+1", "<b>", "a" * 5_000])
def test_hostile_column_names_become_arguments_that_argparse_takes(name):
    card = replace(PIPELINE, inputs=(ModelInput("x", "number"),))
    result = fit(card, table(**{name: "float64", "other": "str"}), ScorerOptions(inputs={"x": name}, keep=(name,)))
    assert result.fits

    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--input", action="append")
    parser.add_argument("--keep", action="append")
    parsed, _ = parser.parse_known_args(list(result.arguments))
    assert (parsed.input, parsed.keep) == ([f"x={name}"], [name])


def test_the_type_of_an_object_column_is_known_of_a_csv_only():
    data = table(flag="object", age="int64")
    assert column_types(data) == {"flag": "boolean", "age": "integer"}
    assert column_types(replace(data, format="parquet")) == {"flag": "", "age": "integer"}


def test_the_scorers_of_the_catalogue_have_distinct_scripts():
    assert len({scorer.path for scorer in SCORERS.values()}) == len(SCORERS)


def test_choices_stand_above_those_of_a_preset():
    preset = ScorerOptions(inputs={"a": "b"}, keep=("id",), probabilities="all")
    assert ScorerOptions(keep=("key",)).over(preset) == ScorerOptions(inputs={"a": "b"}, keep=("key",), probabilities="all")
    assert ScorerOptions(top=2).over(preset) == ScorerOptions(inputs={"a": "b"}, keep=("id",), top=2)


@pytest.mark.parametrize(
    ("values", "problems"),
    [
        ({"size": "224x224", "scale": "1/255", "mean": "0.4, 0.5,0.6", "layout": "NCHW"}, []),
        ({"size": "64x64"}, [("size", "the model takes images of 224x224, not of 64x64")]),
        (
            {"size": "big"},
            [("size", "“big” is not a size that score_images takes"), ("size", "the model takes images of 224x224, not of big")],
        ),
        ({"layout": "HWC"}, [("layout", "“HWC” is not a layout that score_images takes")]),
    ],
)
def test_what_is_said_of_images_is_held_against_the_model(values, problems):
    inputs = (ModelInput("x", "tensor", (None, 3, 224, 224)),)
    card = ModelCard("onnx", takes=(ItemKind.IMAGE,), inputs=inputs, scorer_defaults={"size": "224x224"})
    result = fit(card, files(ItemKind.IMAGE), ScorerOptions(values=values))
    assert [(problem.where, problem.what) for problem in result.problems] == problems


@pytest.mark.parametrize("name", SCORERS)
def test_choices_are_read_back_from_the_arguments_they_became(name):
    scorer = SCORERS[name]
    chosen = ScorerOptions(
        name, {"age": "years", "a=b": "c=d", "3": "-x"}, ("id", "", "two words", "--flag"), None, 3,
        {value: "" if value == "by-order" else "-1,2" for value in scorer.values},
    )  # fmt: skip
    arguments = (*chosen.arguments(scorer), "--mine", "=x", "--append_row_dataframe_header", "True")
    options, rest = ScorerOptions.from_arguments(scorer, arguments, ["a", "a=b", "age"])
    assert options.arguments(scorer) + rest == arguments
    if scorer.has_columns:
        assert options.inputs == chosen.inputs
    if scorer.returns_dataframe:
        assert rest == ("--mine", "=x", *DATAFRAME_HEADER)


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("--keep", "id"), ("--append_row_dataframe_header", "False"), ("--append_row_dataframe_header",),
        ("--keep=id", *DATAFRAME_HEADER), ("--mine", "1", *DATAFRAME_HEADER), ("--keep", *DATAFRAME_HEADER),
        ("--top", "two", *DATAFRAME_HEADER), ("--by-order", "--by-order", *DATAFRAME_HEADER),
        ("--top", "1", "--keep", "a", *DATAFRAME_HEADER),
    ],
)  # fmt: skip
def test_arguments_that_choices_are_not_written_as_are_refused(arguments):
    with pytest.raises((ValueError, SettingsError)):
        ScorerOptions.from_arguments(SCORERS["score_tables"], arguments)
