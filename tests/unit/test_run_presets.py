"""Settings of runs that are kept under names."""

import pytest

from services.errors import NotFound, SettingsError
from services.scoring.presets import Presets, RunPreset
from services.scoring.scorers import ScorerOptions
from services.settings import ParallelRunSettings
from services.storage.store import Store


@pytest.fixture
def presets(tmp_path):
    return Presets(Store(tmp_path))


FULL = RunPreset(
    ParallelRunSettings(node_count=3, partition_keys=("store",), environment_variables={"A": "x=y\n"}), ("--a", "two words"), "e:1", "cpu",
    False, "/src", {"lookup": "d:2"},
)  # fmt: skip


def test_settings_are_kept_as_they_are(presets):
    assert presets.save("  nightly \n run ", FULL) == "nightly run"
    presets.save("B", RunPreset())
    assert presets.names() == ["B", "nightly run"]
    assert presets.named("nightly run") == FULL
    presets.save("B", FULL)
    assert presets.named("B") == FULL


def test_a_preset_is_renamed_and_deleted(presets):
    presets.save("a", FULL)
    presets.save("b", RunPreset())
    assert presets.rename("a", " c ") == "c"
    assert presets.rename("c", "c") == "c"
    assert presets.named("c") == FULL
    with pytest.raises(SettingsError, match="called “b” already"):
        presets.rename("c", "b")
    with pytest.raises(NotFound):
        presets.rename("gone", "d")
    presets.delete("c")
    presets.delete("c")
    assert presets.names() == ["b"]
    with pytest.raises(NotFound):
        presets.named("c")


@pytest.mark.parametrize("name", ["", " \n", "x" * 101, "on", " off "])
def test_what_is_no_name_is_refused(presets, name):
    with pytest.raises(SettingsError):
        presets.save(name, FULL)
    presets.save("a", FULL)
    with pytest.raises(SettingsError):
        presets.rename("a", name)


@pytest.mark.parametrize("name", ["'; DROP TABLE run_presets; --", "=cmd", "<b>", ":red[x]", "../x", "\udcff", "%_*"])
def test_names_may_hold_anything(presets, name):
    presets.save(name, FULL)
    (kept,) = presets.names()
    assert presets.named(kept) == FULL


@pytest.mark.parametrize("text", ["", "{", "[]", '{"settings": 1}', '{"settings": {"node_count": -1}}'])
def test_a_preset_that_is_not_understood_is_said_and_can_be_deleted(presets, text, tmp_path):
    Store(tmp_path).keep_run_preset("odd", text)
    with pytest.raises(SettingsError, match="can't be read"):
        presets.named("odd")
    presets.delete("odd")
    assert presets.names() == []


def test_the_choices_of_a_model_are_another_matter(presets):
    presets.keep("m", ScorerOptions(keep=("id",)))
    assert presets.names() == []
    presets.save("m", FULL)
    presets.delete("m")
    assert presets.of("m") == ScorerOptions(keep=("id",))
