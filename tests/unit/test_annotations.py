"""What people keep: a note and a corrected label on a row, and views by their names."""

import threading

import pytest

from services.errors import NotFound, SettingsError
from services.predictions.annotations import Annotation, AnnotationStore, SavedView
from services.run_details import RowKey

HOSTILE = "\"'; DROP TABLE remarks; -- \udcff\x00 🐈\n<b>"


@pytest.fixture
def store(tmp_path):
    return AnnotationStore(tmp_path)


def test_a_remark_stays_with_its_row_and_its_run_until_it_is_emptied(store, tmp_path):
    key, other = RowKey("a/1.png", 0, 1), RowKey("a/1.png", 1, 1)
    store.annotate("run-1", key, Annotation("odd", "dog"))
    store.annotate("run-1", other, Annotation(label="cat"))
    store.annotate("run-1", key, Annotation("very odd", "dog"))
    assert AnnotationStore(tmp_path).annotations("run-1") == {key: Annotation("very odd", "dog"), other: Annotation("", "cat")}
    assert store.annotations("run-2") == {}
    store.annotate("run-1", key, Annotation())
    assert list(store.annotations("run-1")) == [other]


def test_remarks_and_views_may_hold_anything(store):
    store.annotate(HOSTILE, RowKey(HOSTILE, 0, 0), Annotation(HOSTILE, HOSTILE))
    store.keep_view(SavedView(HOSTILE, HOSTILE))
    assert len(store.annotations(HOSTILE)) == len(store.views()) == 1


def test_a_remark_that_is_too_long_is_refused_at_its_field(store):
    for field in ("note", "label"):
        with pytest.raises(SettingsError) as refused:
            store.annotate("r", RowKey("a", 0, 0), Annotation(**{field: "x" * 10_001}))
        assert refused.value.field == field


def test_views_are_kept_by_name(store):
    store.keep_view(SavedView(" all  cats ", "filter=1"))
    store.keep_view(SavedView("Bad ones", "filter=2"))
    store.keep_view(SavedView("all cats", "filter=3"))
    assert store.views() == [SavedView("all cats", "filter=3"), SavedView("Bad ones", "filter=2")]
    store.remove_view("all cats")
    with pytest.raises(NotFound):
        store.remove_view("all cats")
    for name in ("", "  ", "x" * 101):
        with pytest.raises(SettingsError):
            store.keep_view(SavedView(name, ""))


def test_many_may_keep_remarks_at_once(store):
    def keep(number):
        store.annotate("r", RowKey("a", number, 0), Annotation(str(number)))

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.mini_batch for key in store.annotations("r")} == set(range(20))
