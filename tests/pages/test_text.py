import pytest

from pages._text import escape, for_badge, for_pages


@pytest.mark.parametrize("text", ["\tx\n    y", "x\ny", "  x\n\ty"])
def test_an_indented_line_is_no_code(text):
    assert escape(text) == "x  \ny"


@pytest.mark.parametrize("text", [":material_home:", ":streamlit:", "a -> b", "a <- b", "a <-> b", "--", "a >= b", "a <= b", "a ~= b"])
def test_what_streamlit_changes_though_it_is_escaped_is_interrupted(text):
    assert "\u2060" in escape(text)
    assert escape(text).replace("\\", "").replace("\u2060", "") == text


def test_other_text_is_left_as_it_is():
    assert "\u2060" not in escape("a->b x--y --flag :material/home: 3>=2 a=b - c")


def test_a_page_does_not_tell_the_way_on_the_command_line():
    assert for_pages("Choose a column for it; on the command line: --input age=COLUMN") == "Choose a column for it."
    assert for_pages("Choose another name.") == "Choose another name."


@pytest.mark.parametrize("text", ["a=[x](y)", "]", r"\[", ":red[x]"])
def test_brackets_are_escaped_once_in_a_badge(text):
    assert for_badge(text).replace("[", "\\[").replace("]", "\\]") == escape(text)  # the middle is what `st.badge` does
