"""What is said before a run is what its scorer does. The scorers import nothing of this program, so that both decide: they decide alike."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import ROW_KINDS, ItemKind, ModelCard, ModelInput, TabularDataset, utc_now
from services.intake.item_kinds import look_at_head
from services.scoring import onnx_card
from services.scoring.column_matching import ColumnMatching
from services.scoring.scorers import SCORERS, ScorerOptions

SCRIPTS = Path(__file__).parents[2] / "batch_scripts"


def script(name: str) -> ModuleType:
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SCRIPTS))


formats, scoring, score_rows = script("_model_formats"), script("_scoring"), script("score_rows")


# ---- which columns are the model's -----------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["age", "Age", "a-g-e", "city", "income", "text", "a=b", "1", "2", "--x", "é"])


def arguments_of(words: Sequence[str]) -> argparse.Namespace:
    """As score_tables.py reads them."""
    parser = argparse.ArgumentParser()
    for name in ("--input", "--keep"):
        parser.add_argument(name, action="append", default=[])
    parser.add_argument("--by-order", action="store_true")
    return parser.parse_known_args(words)[0]


def taken_by_scorer(model: object, columns: Sequence[str], options: ScorerOptions) -> list[str]:
    """The columns that score_tables.py takes, called as it is for these options."""
    arguments = arguments_of(options.arguments(SCORERS["score_tables"]))
    places = scoring.columns_for(model, columns, arguments.input, by_order=arguments.by_order, kept=arguments.keep)
    return [columns[place] for place in places]


@given(
    st.sampled_from(["frame", "matrix", "texts"]),
    st.lists(NAMES, min_size=1, max_size=4, unique=True),
    st.lists(NAMES, min_size=1, max_size=5, unique=True),
    st.data(),
)
def test_a_table_that_fits_is_scored_from_the_columns_that_were_said(wants, inputs, columns, data):
    types = "text" if wants == "texts" else "number"
    called = [str(number + 1) for number in range(len(inputs))] if wants == "matrix" else inputs
    options = ScorerOptions(
        inputs=data.draw(st.dictionaries(st.sampled_from(called), st.sampled_from(columns), max_size=2)),
        keep=tuple(data.draw(st.lists(st.sampled_from(columns), max_size=2, unique=True))),
        values=data.draw(st.sampled_from([{}, {"by-order": ""}])),
    )
    named = [] if wants == "matrix" else ["text"] if wants == "texts" else inputs
    takes = (ItemKind.TEXT,) if wants == "texts" else ROW_KINDS
    count = 1 if wants == "texts" else len(inputs)
    card = ModelCard("onnx", takes=takes, inputs=tuple(ModelInput(name, types) for name in named), feature_count=count)
    pairs = tuple((name, "str" if wants == "texts" else "float64") for name in columns)
    dataset = TabularDataset("t", 1, "/t", "**", True, 1, 9, "", "", utc_now(), columns=pairs, row_count=3)
    model = formats.Model("onnx", "onnx", None, wants, inputs=[{"name": name} for name in named], feature_count=count)
    found = ColumnMatching(card, dataset, options)
    if not found.problems:
        assert taken_by_scorer(model, columns, found.options) == [match.column for match in found.columns]
    elif not options.inputs and not options.values and wants != "texts":  # of choices the check is the stricter
        with pytest.raises(ValueError, match="the table"):
            taken_by_scorer(model, columns, options)


# ---- what a file of one row is ---------------------------------------------------------------------------------------------------------

FIELDS = st.sampled_from(["1", "2.5", "-3e4", "", "red", "nan", "a b", "7,5", '"x"', "x1"])
ROWS = st.lists(st.lists(FIELDS, min_size=1, max_size=4), min_size=0, max_size=3)


@given(ROWS, st.sampled_from([",", ";", "\t"]), st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans())
def test_a_file_told_as_one_row_is_read_as_one_row(rows, separator, ending, ended):
    text = ending.join(separator.join(row) for row in rows) + (ending if ended else "")
    look = look_at_head(text.encode())
    score_rows.arguments = argparse.Namespace(header="auto")
    try:
        _, header, _, fields = score_rows.parts_of(text)
    except ValueError:
        assert look.kind not in (ItemKind.ROW_FILE, ItemKind.HEADED_ROW_FILE) or look.odd
        return
    if look.kind in (ItemKind.ROW_FILE, ItemKind.HEADED_ROW_FILE) and not look.odd:
        assert (header is not None) == (look.kind is ItemKind.HEADED_ROW_FILE)
        assert fields == look.fields


# ---- what a model's metadata tells -----------------------------------------------------------------------------------------------------

SIZES = st.integers(1, 999)
VALUES = st.one_of(
    SIZES.map(str),
    st.tuples(SIZES, SIZES).map(str),
    st.tuples(SIZES, SIZES).map(lambda size: f"{size[0]}x{size[1]}"),
    st.tuples(SIZES, SIZES).map(lambda size: f"{size[0]} x {size[1]}"),
    st.lists(st.floats(-2, 300).map(lambda value: round(value, 3)), min_size=1, max_size=4).map(str),
    st.sampled_from(["NCHW", "RGB", "1/255", "0.003921", "2e-3", "", "none", ".5,.5", "1."]),
)
KEYS = st.sampled_from([*formats.IMAGE_KEYS, "Size", "MEAN", "author"])
DIMENSIONS = st.one_of(st.none(), st.sampled_from([1, 3, 4, 224]))


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.lists(DIMENSIONS, max_size=5).map(tuple))
def test_the_card_and_the_scorer_read_the_same_of_images(metadata, shape):
    assert onnx_card.image_defaults(metadata, shape) == formats.image_defaults(metadata, shape)


LABELS = st.one_of(
    st.lists(st.text("ab é'", min_size=1, max_size=3), max_size=4),
    st.dictionaries(st.integers(0, 12).map(str), st.text("ab", min_size=1, max_size=3), max_size=4),
)


@given(LABELS, st.sampled_from(["json", "python", "commas"]), st.sampled_from([*formats.LABEL_KEYS, "Labels", "other"]))
def test_the_card_and_the_scorer_read_the_same_labels(labels, written, key):
    text = {"json": json.dumps(labels), "python": repr(labels), "commas": ", ".join(labels)}[written]
    assert list(onnx_card.labels_in({key: text})) == formats.labels_in({key: text})


def test_the_card_and_the_scorer_know_the_same_keys():
    assert formats.IMAGE_KEYS == onnx_card._IMAGE_KEYS
    assert formats.LABEL_KEYS == onnx_card._LABEL_KEYS
    assert {formats.TABLE_ROW, *formats.ROWS, formats.IMAGE, formats.TEXT} == {*ROW_KINDS, ItemKind.IMAGE, ItemKind.TEXT}


@pytest.mark.parametrize("size", ["640", "224x192", "224 x 192", "(192, 224)"])
def test_a_size_in_metadata_is_width_and_height(size):
    expected = "640x640" if size == "640" else "224x192"
    assert onnx_card.image_defaults({"size": size}, ()) == formats.image_defaults({"size": size}, ()) == {"size": expected}
