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


CONTORTED = (
    "asked for first", "told by", "no business of", "mended", "what became of", "what came of", "leavings", "beside it stands",
    "comes round", "nobody's business", "fell short of its", "is told just", "can't be told", "to be taken in",
)  # fmt: skip
"""Phrases for which plain English has a word: confirmed, recognized, outcome, fixed, repeats."""


def test_comments_documents_and_messages_are_plain_english():
    root = TESTS.parent
    files = [path for place in ("services", "pages", "docs", "tests", "benchmarks") for path in (root / place).rglob("*")]
    texts = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in (*files, *root.glob("*.md"), *root.glob("*.py"))
        if path.suffix in (".py", ".md", ".jinja", ".js") and path.name not in ("test_names.py", "CHANGELOG.md")
    }
    assert len(texts) > 300
    assert [(name, found) for name, text in texts.items() for found in re.findall(rf"\b(?:{'|'.join(CONTORTED)})\b", text.lower())] == []
