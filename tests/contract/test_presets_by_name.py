"""`run --preset NAME`: the settings that New run keeps under a name, where no option says otherwise."""

from __future__ import annotations

from services.scoring.presets import RunPreset
from services.settings import ParallelRunSettings

NIGHTLY = RunPreset(
    ParallelRunSettings(mini_batch_size="2", error_threshold=-1, process_count_per_node=2, environment_variables={"A": "x=y"}),
    ("--kept", "1"),
    allow_reuse=False,
)


def test_a_preset_applies_where_no_option_says_otherwise(run, workspace):
    workspace.presets.save("nightly run", NIGHTLY)
    result = run("--preset", "nightly run", "--error-threshold", "3", "--wait", "--json")
    assert result.code == 0, result
    request = workspace.runs.get(result.json["id"]).request
    assert (request.settings.mini_batch_size, request.settings.error_threshold, request.settings.process_count_per_node) == ("2", 3, 1)
    assert (request.settings.environment_variables, request.arguments, request.allow_reuse) == ({"A": "x=y"}, ("--kept", "1"), False)


def test_what_excludes_a_kept_setting_takes_its_place(run, workspace):
    workspace.presets.save("nightly", NIGHTLY)
    result = run("--preset", "nightly", "--partition-keys", "store", "--json")
    assert result.error["field"] == "partition_keys"
    assert "was registered without a partition format" in result.error["message"]


def test_a_preset_that_is_not_there_is_refused(run, workspace):
    workspace.presets.save("nightly", NIGHTLY)
    result = run("--preset", "nightlies", "--json")
    assert (result.code, result.error["message"]) == (2, "There is no preset called “nightlies”.")
    assert workspace.runs.latest() == []
