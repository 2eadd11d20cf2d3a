"""Python's parser in several threads."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from services import python_parser


def test_threads_may_parse_at_once():
    text = "\n".join(f"def f{number}(a, b=[1, (2, {{3: 'x'}})]): return [a for a in b if a]" for number in range(300))
    with ThreadPoolExecutor(8) as threads:
        trees = list(threads.map(python_parser.parse, [text] * 24))
    assert {len(tree.body) for tree in trees} == {300}


def test_what_does_not_compile_is_refused():
    with pytest.raises(SyntaxError):
        python_parser.parse("return 1")
    assert python_parser.literal("['a', b'b']") == ["a", b"b"]
