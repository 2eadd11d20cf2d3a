"""The table of settings: what is accepted, what is refused and at which field."""

import pytest

from services.errors import SettingsError
from services.settings import TABLE, ParallelRunSettings, size_in_units


def test_the_defaults_are_the_contracts():
    settings = ParallelRunSettings()
    assert settings.as_dict() == {
        "node_count": 1,
        "error_threshold": 10,
        "output_action": "append_row",
        "append_row_file_name": "parallel_run_step.txt",
        "run_invocation_timeout": 60,
        "run_max_try": 3,
        "logging_level": "INFO",
    }


@pytest.mark.parametrize(("given", "bytes_or_files"), [(5, 5), ("5", 5), ("10kb", 10240), ("1MB", 1024**2), ("2Gb", 2 * 1024**3)])
def test_a_mini_batch_size_is_a_number_or_a_1024_based_size(given, bytes_or_files):
    assert size_in_units(ParallelRunSettings(mini_batch_size=given).mini_batch_size) == bytes_or_files


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("mini_batch_size", value) for value in ("1.5MB", "10 kb", 0, "0", -5, "10kbkb", True, "ten", "5\n6")],
        *[("node_count", value) for value in (0, -1, 1.5, "two", True, None)],
        *[("process_count_per_node", value) for value in (0, "x")],
        *[("error_threshold", value) for value in (-2, 0.5, None, "")],
        *[("allowed_failed_percent", value) for value in (-1, 101, "nan", True)],
        ("allowed_failed_count", -2),
        ("output_action", "append_rows"),
        *[("append_row_file_name", value) for value in ("a/b", "..", "", "a:b", "x\ny", "n" * 201)],
        ("run_invocation_timeout", 0),
        ("run_max_try", 0),
        ("logging_level", "LOUD"),
        ("environment_variables", {"A=B": "1"}),
        ("partition_keys", []),
    ],
)
def test_a_wrong_value_is_refused_at_its_field(field, value):
    with pytest.raises(SettingsError) as refused:
        ParallelRunSettings(**{field: value})
    assert refused.value.field == field
    assert field in refused.value.message


def test_output_action_and_logging_level_are_accepted_in_any_case():
    settings = ParallelRunSettings(output_action="APPEND_ROW", logging_level="debug")
    assert (settings.output_action, settings.logging_level) == ("append_row", "DEBUG")


def test_numbers_may_come_as_texts_from_a_form_or_a_command_line():
    assert ParallelRunSettings(node_count="2", error_threshold="-1", run_max_try="4.0").as_dict()["run_max_try"] == 4


def test_partition_keys_exclude_a_mini_batch_size_as_in_the_sdk():
    assert "mini_batch_size" not in ParallelRunSettings(partition_keys=["store"]).as_dict()


def test_an_unknown_setting_is_refused_by_name():
    with pytest.raises(SettingsError, match="nodes"):
        ParallelRunSettings.from_dict({"nodes": 2})


def test_settings_survive_the_trip_through_their_dict():
    settings = ParallelRunSettings(node_count=2, allowed_failed_percent=2.5, environment_variables={"A": "1"}, partition_keys=["a", "b"])
    again = ParallelRunSettings.from_dict(settings.as_dict())
    assert again.as_dict() == settings.as_dict()


def test_every_setting_has_a_label_a_help_and_a_widget():
    for name, setting in TABLE.items():
        widget = ParallelRunSettings.widget(name)
        assert widget["label"] == setting.label
        assert setting.help.endswith(".")
        assert name in widget["help"]


def test_the_azure_sdk_takes_every_setting_by_its_name():
    """The names are ParallelRunConfig's own, read from its source: importing it takes seconds."""
    import ast
    from importlib.util import find_spec
    from pathlib import Path

    package = find_spec("azureml")
    assert package
    sources = [Path(place) / "pipeline/core/_parallel_run_config_base.py" for place in package.submodule_search_locations or ()]
    source = next(path for path in sources if path.exists())
    parameters = {argument.arg for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.FunctionDef)
                  and node.name == "__init__" for argument in node.args.args}  # fmt: skip
    assert set(TABLE) <= parameters


@pytest.mark.parametrize(
    ("given", "tabular", "size"),
    [({}, False, "10"), ({}, True, "1MB"), ({"mini_batch_size": "7"}, False, "7"), ({"partition_keys": "a"}, False, None)],
)
def test_the_default_mini_batch_size_is_that_of_the_dataset_s_type(given, tabular, size):
    assert ParallelRunSettings(**given).resolved(tabular=tabular).mini_batch_size == size
