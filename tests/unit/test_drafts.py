"""Drafts: only their owner can read them, for a week, and only by a number that is theirs."""

import os
import re
import stat
import time

import pytest

from services.errors import NotFound, WorkspaceUnavailable
from services.storage.drafts import KEPT_DAYS, LARGEST, Drafts, new_number, remove_old_drafts


@pytest.fixture
def drafts(tmp_path):
    return Drafts(tmp_path)


def test_what_was_saved_last_is_read(drafts):
    number = new_number()
    drafts.save(number, "first")
    drafts.save(number, "second, ü\n")
    assert drafts.read(number) == "second, ü\n"
    drafts.remove(number)
    drafts.remove(number)
    with pytest.raises(NotFound) as raised:
        drafts.read(number)
    assert raised.value.hint == "It was submitted, or is older than 7 days."


def test_numbers_cannot_be_guessed(drafts):
    numbers = {new_number() for _ in range(1000)}
    assert len(numbers) == 1000
    assert all(re.fullmatch("[0-9a-f]{32}", number) for number in numbers)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_no_other_user_can_read_a_draft(drafts):
    number = new_number()
    drafts.save(number, "secret")
    (path,) = drafts.folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(drafts.folder.stat().st_mode) == 0o700


NO_NUMBERS = ["", "../studio", "x" * 100_000, "A" * 32, "0" * 31, "0" * 32 + "\n", "/etc/passwd", "\0" * 32, "٣" * 32]


@pytest.mark.parametrize("number", NO_NUMBERS, ids=range(len(NO_NUMBERS)))
def test_what_is_not_a_number_is_never_a_path(drafts, tmp_path, number):
    (tmp_path / "studio.json").write_text("not yours")
    with pytest.raises(NotFound) as raised:
        drafts.read(number)
    assert len(raised.value.message) < 300


def test_a_draft_of_another_home_is_not_found(drafts, tmp_path):
    (tmp_path / "other").mkdir()
    number = new_number()
    Drafts(tmp_path / "other").save(number, "theirs")
    with pytest.raises(NotFound):
        drafts.read(number)


def test_drafts_are_removed_after_a_week(drafts, tmp_path):
    azure = tmp_path / "azure" / "s" / "g" / "w"
    azure.mkdir(parents=True)
    old, new = new_number(), new_number()
    for kept in (drafts, Drafts(azure)):
        kept.save(old, "old")
        kept.save(new, "new")
        past = time.time() - KEPT_DAYS * 86_400 - 60
        os.utime(kept.folder / f"{old}.json", (past, past))
    remove_old_drafts(tmp_path)
    for kept in (drafts, Drafts(azure)):
        assert [path.stem for path in kept.folder.iterdir()] == [new]


def test_an_old_draft_is_not_read_again(drafts):
    number = new_number()
    drafts.save(number, "old")
    past = time.time() - KEPT_DAYS * 86_400 - 60
    os.utime(drafts.folder / f"{number}.json", (past, past))
    with pytest.raises(NotFound):
        drafts.read(number)


def test_a_file_that_is_too_large_or_no_text_is_not_read(drafts):
    number = new_number()
    drafts.save(number, "x" * (LARGEST + 1))
    with pytest.raises(NotFound):
        drafts.read(number)
    (drafts.folder / f"{number}.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NotFound):
        drafts.read(number)


def test_a_folder_that_cannot_be_written_is_said(drafts, tmp_path):
    drafts.folder.write_text("a file in its place")
    with pytest.raises(WorkspaceUnavailable, match="can't be kept"):
        drafts.save(new_number(), "text")
