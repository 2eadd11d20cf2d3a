"""Rows as Python prints them, read as JSON."""

from __future__ import annotations

import json

import pytest

from services.predictions.literals import EXACT, as_json


@pytest.mark.parametrize(
    ("printed", "values"),
    [
        ("[np.float64(0.25), np.float64(0.75)]", [0.25, 0.75]),
        ("{'anomaly': np.True_, 'odd': np.False_}", {"anomaly": True, "odd": False}),
        ("{0: .25, 1: 1.}", {"0": 0.25, "1": 1.0}),
        ("{'text': \"it's\", 'n': 0}", {"text": "it's", "n": 0}),
        ("{'a': array([1., 2.5], dtype=float32), 'b': (1, 2)}", {"a": [1.0, 2.5], "b": [1, 2]}),
        ("[0.25 0.75]", [0.25, 0.75]),
        ("[[1 2]\n [3 4]]", [[1, 2], [3, 4]]),
        ("['cat' 'dog']", ["cat", "dog"]),
        ("('x.csv', 0.5)", ["x.csv", 0.5]),
        ("{1, 2}", [1, 2]),
        ("{'d': datetime.date(2026, 1, 31), 't': datetime.datetime(2026, 1, 31, 10, 0)}", {"d": "2026-01-31", "t": "2026-01-31 10:00:00"}),
        ("{'d': Decimal('0.10'), 't': Timestamp('2026-01-31 00:00:00')}", {"d": 0.1, "t": "2026-01-31 00:00:00"}),
        ("{'d': Decimal('0.12345678901234567890')}", {"d": EXACT + "0.12345678901234567890"}),
        ("{'n': 123456789012345678901234567890}", {"n": 123456789012345678901234567890}),
        ("{'p': tensor([0.1, 0.2], grad_fn=<SoftmaxBackward0>)}", {"p": [0.1, 0.2]}),
        ("{'p': Point(x=1, y='2')}", {"p": {"x": 1, "y": "2"}}),
        ("OrderedDict([('a', 1), ('b', 'x')])", {"a": 1, "b": "x"}),
        ("{np.int64(3): 1, True: 2, (1, 2): 3}", {"3": 1, "True": 2, "(1, 2)": 3}),
        ("{'a': b'x', 'b': None, 'c': 1+2j}", {"a": "b'x'", "b": None, "c": "1+2j"}),
        (r"{'a': 'line\nend', 'b': 'caf\xe9'}", {"a": "line\nend", "b": "café"}),
        ('{"a": 1, "a": 2}', {"a": 1}),
    ],
)
def test_what_python_prints_is_read_as_its_values(printed, values):
    assert json.loads(as_json(printed) or "null") == values


def test_infinity_and_nan_are_numbers():
    assert as_json("{'a': nan, 'b': inf, 'c': np.float64(-inf)}") == '{"a": NaN, "b": Infinity, "c": -Infinity}'


@pytest.mark.parametrize(
    ("printed", "values"),
    [
        ("{'a': <Tensor at 0x7f, b>, 'b': 1}", {"a": "<Tensor at 0x7f, b>", "b": 1}),
        ("{'a': Color.RED, 'c': 'x'}", {"a": "Color.RED", "c": "x"}),
        ("{'a': [<X>, 1], 'b': 2}", {"a": "[<X>, 1]", "b": 2}),
        ("{'a': lambda: 0, 'b': 2}", {"a": "lambda: 0", "b": 2}),
        ("{'a': array([0, 1, ..., 8, 9], shape=(99,)), 'b': 2}", {"a": "array([0, 1, ..., 8, 9], shape=(99,))", "b": 2}),
    ],
)
def test_what_can_not_be_read_costs_its_own_key_alone(printed, values):
    assert json.loads(as_json(printed) or "null") == values


@pytest.mark.parametrize(
    "text", ["(unknown)", "[not, json]", "[cat]", "[1, 2", "{'a': 1}, {'b': 2}", "cat", "", "7", "cat (wild)", "[" * 9999, "[0 1 ... 8 9]"]
)
def test_a_text_that_is_no_literal_stays_a_text(text):
    assert as_json(text) is None


def test_nothing_is_executed(tmp_path):
    as_json(f"{{'a': open('{tmp_path / 'made'}', 'w'), 'b': __import__('os').system('touch {tmp_path / 'made'}')}}")
    assert list(tmp_path.iterdir()) == []
