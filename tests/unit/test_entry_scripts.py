"""Entry scripts from outside: checked, and never run."""

import pytest

from services.errors import EntryScriptError
from services.intake.entry_scripts import check_entry_script


@pytest.mark.parametrize(
    "source",
    [
        "def run(mini_batch): return mini_batch",
        "def run(mini_batch, context): return mini_batch",
        "def run(mini_batch, context=None, *, verbose=False): return mini_batch",
        "def run(*anything): return anything[0]",
        "def run(mini_batch, /): return mini_batch",
        "run = lambda mini_batch: mini_batch",
        "run: object = print",
        "a, (run, b) = f()",
        "from scoring import run",
        "from scoring import score as run",
        "from scoring import *",
        "import run",
        "if True:\n    def run(m): return m\n",
        "try:\n    from fast import run\nexcept ImportError:\n    def run(m): return m\n",
        "with open('x') as f:\n    run = f\n",
        "@decorated\ndef run(): pass",
        "async def run(m): pass\ndef run(m): return m",
        "def run(m):\n    return [m for run in m]",
    ],
)
def test_a_script_whose_run_takes_a_mini_batch_is_taken(source):
    assert check_entry_script(source.encode(), "score.py") == ""


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", "empty"),
        (" \n\t\n", "empty"),
        ("# only a comment", "no function run"),
        ("def score(m): return m", "no function run"),
        ("def init():\n    def run(m): return m", "no function run"),
        ("class Scorer:\n    def run(self, m): return m", "no function run"),
        ("print(run)", "no function run"),
        ("x = [run for run in y]", "no function run"),
        ("\n\nasync def run(m): return m", "line 3: run is an async function"),
        ("\ndef run(): return []", "line 2: run can't be called"),
        ("def run(a, b, c): return []", "line 1: run can't be called"),
        ("def run(a, *, b): return []", "line 1: run can't be called"),
        ("def run(m): return m\ndef run(): return []", "line 2: run can't be called"),
        ("def init():\n    x = (1\n\ndef run(m): return m", "line 2"),
        ("print 'hello'", "line 1"),
        ("def run(m): return m\nreturn 3", "line 2"),
        ("x = 1\n\x00\ndef run(m): return m", "NUL"),
        ("(" * 5_000_000, "no script"),
        ("(" * 500_000, "nested"),
        ("x = " + "-" * 500_000 + "1", "nested"),
        ("x = a" + ".a" * 300_000, "nested"),
        ("x = 1" + " + 1" * 100_000, "nested"),
    ],
)
def test_a_script_that_cannot_be_run_is_refused_with_its_name_and_the_line(source, says):
    with pytest.raises(EntryScriptError) as caught:
        check_entry_script(source.encode(), "score.py")
    assert "score.py" in caught.value.message
    assert says in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "decoded"),
        (b"x = 1\ny = '\xff'\n", "line 2"),
        ("def run(m): return m".encode("utf-16"), "NUL"),
        (b"# coding: nonsense\ndef run(m): return m", "decoded"),
        (b"# coding: rot13\nqrs eha(z): erghea z", "decoded"),
    ],
)
def test_bytes_that_are_no_text_are_refused(source, says):
    with pytest.raises(EntryScriptError, match=says):
        check_entry_script(source, "score.py")


def test_the_syntax_error_itself_is_kept_as_the_traceback():
    with pytest.raises(EntryScriptError) as caught:
        check_entry_script(b"def run(m):\n    return [m\n", "score.py")
    assert "SyntaxError" in caught.value.traceback
    assert "return [m" in caught.value.traceback


@pytest.mark.parametrize(
    "source",
    [
        '"""Scores café."""\ndef run(m): return m'.encode(),
        b"\xef\xbb\xbf" + '"""Scores café."""\ndef run(m): return m'.encode(),
        '# -*- coding: latin-1 -*-\n"""Scores café."""\ndef run(m): return m'.encode("latin-1"),
    ],
)
def test_the_docstring_is_read_in_the_declared_encoding(source):
    assert check_entry_script(source, "score.py") == "Scores café."


def test_checking_a_script_does_not_run_it(tmp_path):
    source = f"open({str(tmp_path / 'ran')!r}, 'w').close()\ndef run(m): return m"
    check_entry_script(source.encode(), "score.py")
    assert not (tmp_path / "ran").exists()
