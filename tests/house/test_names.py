"""A test's name is a short sentence: what it says is one thing."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_the_name_of_a_test_is_one_short_sentence():
    named = [name for path in TESTS.rglob("test_*.py") for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.M)]
    assert named
    assert [name for name in named if len(name) > 80] == []
