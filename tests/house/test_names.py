"""A test's name is a short sentence: what it says is one thing. A file of tests is called as no other is: pytest imports it by its name."""

import re
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_the_name_of_a_test_is_one_short_sentence():
    named = [name for path in TESTS.rglob("test_*.py") for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.M)]
    assert named
    assert [name for name in named if len(name) > 80] == []


def test_no_two_files_of_tests_have_one_name():
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
