import pytest

from pages import _tables


@pytest.mark.parametrize(("numbers", "least"), [([1] * 50 + [186_329], 7 * 8), ([1] * 50 + [-186_329], 8 * 8), ([], 0)])
def test_a_column_of_numbers_is_as_wide_as_its_longest_number(numbers, least):
    """By itself a table measures the first rows, and cuts a longer number at its left end."""
    table = _tables.arrow({"n": int, "text": str}, [(number, "a") for number in numbers])
    columns = _tables.number_columns(table, ["n"])
    assert columns.keys() == {"n"}
    assert columns["n"]["width"] >= least
    assert columns["n"]["type_config"]["format"] == "localized"


def test_only_a_column_with_long_texts_is_narrowed():
    table = _tables.arrow({"short": str, "long": str, "empty": str}, [("a", "b" * 200, None)])
    assert _tables.narrowed(table, "short", "long", "empty").keys() == {"long"}
