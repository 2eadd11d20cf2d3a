"""ParallelRunSettings: every setting of a run, with its default, range and help. One table.

Widgets, the command line, validation and the documentation all read it. The fields are `ParallelRunConfig`'s parameters, letter for
letter (azureml-pipeline-steps), so that the Azure side is `ParallelRunConfig(**settings.as_dict(), ...)`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from services import gpus
from services.errors import SettingsError
from services.file_names import check_file_name, short

OUTPUT_ACTIONS = ("append_row", "summary_only")
LOGGING_LEVELS = ("WARNING", "INFO", "DEBUG")

# Arguments the runtime itself passes to the entry script (DOC: how-to-use-parallel-run-step), so a user's may not be called so.
RESERVED_ARGUMENTS = (
    "mini_batch_size", "error_threshold", "allowed_failed_count", "allowed_failed_percent", "output", "output_action",
    "logging_level", "process_count_per_node", "run_invocation_timeout", "run_max_try", "append_row_file_name", "partition_keys",
)  # fmt: skip

PIPELINE_PARAMETERS = (
    "mini_batch_size", "node_count", "process_count_per_node", "logging_level", "run_invocation_timeout", "run_max_try", "partition_keys",
)  # fmt: skip
"""The settings that a published pipeline can be run with others of: pipeline parameters, in ParallelRunConfig's docstring's list."""

DEFAULT_FILE_MINI_BATCH = "10"
DEFAULT_TABULAR_MINI_BATCH = "1MB"
"""ParallelRunConfig's defaults: files for a FileDataset, approximate bytes for a TabularDataset."""

_SIZE = re.compile(r"(\d+)(kb|mb|gb)?", re.IGNORECASE)
_UNITS = {None: 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}


@dataclass(frozen=True)
class Setting:
    """One row of the table. `minimum`/`maximum` bound numbers, `options` lists choices; `up_front` is shown unfolded in the form."""

    label: str
    help: str
    check: Callable[[str, Any, Setting], Any]
    minimum: float | None = None
    maximum: float | None = None
    options: tuple[str, ...] = ()
    up_front: bool = False
    unset: str = ""
    """What applies when the value is None, in words (empty: None is not allowed)."""


def _refuse(name: str, message: str, hint: str = "") -> SettingsError:
    return SettingsError(name, f"{name}: {message}", hint)


def _whole(name: str, value: Any, setting: Setting) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[+-]?\d{1,18}(\.0+)?", text):
        raise _refuse(name, f"“{short(str(value))}” is not a whole number", f"Give a whole number, {setting.minimum} or more.")
    number = int(text.split(".")[0])
    if (setting.minimum is not None and number < setting.minimum) or (setting.maximum is not None and number > setting.maximum):
        bounds = f"between {setting.minimum} and {setting.maximum}" if setting.maximum is not None else f"{setting.minimum} or more"
        raise _refuse(name, f"{number} is out of range", f"Give a whole number, {bounds}.")
    return number


def _percent(name: str, value: Any, _setting: Setting) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = float("nan")
    if isinstance(value, bool) or not 0 <= number <= 100:
        raise _refuse(name, f"“{short(str(value))}” is not a percentage", "Give a number between 0 and 100.")
    return number


def size_in_units(value: str | int) -> int:
    """A checked `mini_batch_size` as a plain number: of files (FileDataset) or of bytes (TabularDataset, 1024-based units)."""
    match = _SIZE.fullmatch(str(value))
    assert match, value
    return int(match[1]) * _UNITS[match[2].lower() if match[2] else None]


def _size(name: str, value: Any, _setting: Setting) -> str:
    text = str(value).strip()
    hint = "Give a number of files, such as 10, or for tabular data a size such as 100KB or 1MB."
    if isinstance(value, bool) or not _SIZE.fullmatch(text) or len(text) > 18:
        raise _refuse(name, f"“{short(str(value))}” is not a size", hint)
    if size_in_units(text) < 1:
        raise _refuse(name, "a mini-batch can't be empty", hint)
    return text


def _choice(name: str, value: Any, setting: Setting) -> str:
    for option in setting.options:
        if str(value).casefold() == option.casefold():
            return option
    options = ", ".join(setting.options)
    raise _refuse(name, f"“{short(str(value))}” is not one of {options}", f"Choose one of {options}.")


def _file_name(name: str, value: Any, _setting: Setting) -> str:
    return check_file_name(name, str(value))


def _keys(name: str, value: Any, _setting: Setting) -> tuple[str, ...]:
    keys = tuple(value.replace(",", " ").split()) if isinstance(value, str) else tuple(value)
    if not keys or not all(isinstance(key, str) and key for key in keys):
        raise _refuse(name, "no key is named", "Name one or more keys of the dataset's partition format.")
    return keys


def _variables(name: str, value: Any, _setting: Setting) -> dict[str, str]:
    for key, text in dict(value).items():
        if not isinstance(key, str) or not key or "=" in key or "\0" in key + str(text):
            raise _refuse(name, f"“{short(str(key))}” is not the name of an environment variable", "Write NAME=value.")
    return {key: str(text) for key, text in dict(value).items()}


def _row(default: Any, label: str, help: str, check: Callable[[str, Any, Setting], Any], **row: Any) -> Any:  # noqa: A002
    return field(default=default, metadata={"setting": Setting(label, help, check, **row)})


@dataclass(frozen=True)
class ParallelRunSettings:
    """The settings of one run, checked. Raises SettingsError naming the field; unknown names raise TypeError as any dataclass does."""

    node_count: int = _row(
        1, "Node count", "The number of nodes. On this machine a node is a group of worker processes; on Azure ML a machine of "
        "the cluster.", _whole, minimum=1, maximum=1000, up_front=True)  # fmt: skip
    process_count_per_node: int | None = _row(
        None, "Processes per node", "Worker processes per node. Workers = node count × processes per node.",
        _whole, minimum=1, maximum=1000, unset="the number of cores; 1 with a GPU")  # fmt: skip
    mini_batch_size: str | None = _row(
        None, "Mini-batch size", "The input of one run() call: a number of files (file dataset), or an approximate "
        "size such as 1MB (tabular dataset).", _size, up_front=True,
        unset=f"{DEFAULT_FILE_MINI_BATCH} files or {DEFAULT_TABULAR_MINI_BATCH}")  # fmt: skip
    error_threshold: int = _row(
        10, "Error threshold", "The run stops when more items than this have failed. 0 stops at the first, "
        "-1 never stops.", _whole, minimum=-1, up_front=True)  # fmt: skip
    allowed_failed_count: int | None = _row(
        None, "Allowed failed mini-batches", "The run stops when more mini-batches than this have failed. -1 never stops.",
        _whole, minimum=-1, unset="not checked")  # fmt: skip
    allowed_failed_percent: float | None = _row(
        None, "Allowed failed mini-batches (%)", "The run stops when more than this share of the mini-batches has failed; checked "
        "once all are handed out.", _percent, minimum=0.0, maximum=100.0, unset="not checked")  # fmt: skip
    output_action: str = _row(
        "append_row", "Output action", "append_row: the rows that run() returns are written to one file. summary_only: the script writes "
        "its own output; only the counts are kept.", _choice, options=OUTPUT_ACTIONS)  # fmt: skip
    append_row_file_name: str = _row(
        "parallel_run_step.txt", "Output file name", "The file that append_row writes.", _file_name)  # fmt: skip
    run_invocation_timeout: int = _row(
        60, "Timeout per run() call (seconds)", "The time limit of one run() or init() call. A worker that exceeds it is stopped and "
        "replaced, and the mini-batch is tried again.", _whole, minimum=1)  # fmt: skip
    run_max_try: int = _row(
        3, "Tries per mini-batch", "Attempts per mini-batch before its items count as failed.", _whole, minimum=1, maximum=100)  # fmt: skip
    logging_level: str = _row(
        "INFO", "Logging level", "The lowest level of the scoring script's log.", _choice, options=LOGGING_LEVELS)  # fmt: skip
    partition_keys: tuple[str, ...] | None = _row(
        None, "Partition keys", "All items with equal values of these keys are one mini-batch. Excludes a mini-batch size.",
        _keys, unset="not partitioned")  # fmt: skip
    environment_variables: dict[str, str] | None = _row(  # noqa: RUF009 - the row is made once, as a field is
        None, "Environment variables", "Set for the scoring script, one NAME=value per line.", _variables, unset="none")  # fmt: skip

    def __post_init__(self) -> None:
        for name, setting in TABLE.items():
            value = getattr(self, name)
            if value is None or (isinstance(value, str) and not value.strip() and setting.unset):
                if not setting.unset:
                    raise _refuse(name, "a value is required", setting.help)
                value = None
            else:
                value = setting.check(name, value, setting)
            object.__setattr__(self, name, value)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ParallelRunSettings:
        """The settings of a mapping of names to values (texts are fine). Raises SettingsError for a name that is not a setting."""
        unknown = sorted(set(values) - set(TABLE))
        if unknown:
            raise SettingsError(unknown[0], f"There is no setting called {unknown[0]}", f"The settings are {', '.join(TABLE)}.")
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """What is set, by `ParallelRunConfig`'s own names; JSON-ready. Leaves out what is None, and `mini_batch_size` where
        `partition_keys` is set, since the SDK refuses both together."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.partition_keys is not None:
            values["mini_batch_size"] = None
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items() if v is not None}

    @property
    def processes_per_node(self) -> int:
        """`process_count_per_node`; when it isn't set, 1 on a machine with GPUs (DOC), else the number of its cores."""
        return self.process_count_per_node or (1 if gpus.visible() else os.cpu_count()) or 1

    @property
    def worker_count(self) -> int:
        """Worker processes on this machine: `node_count` x `processes_per_node`."""
        return self.node_count * self.processes_per_node

    def resolved(self, *, tabular: bool) -> ParallelRunSettings:
        """With the mini-batch size that applies where none is set; the rest stays open where only the workspace knows (cores)."""
        if self.mini_batch_size or self.partition_keys:
            return self
        return replace(self, mini_batch_size=DEFAULT_TABULAR_MINI_BATCH if tabular else DEFAULT_FILE_MINI_BATCH)

    def units_in_a_mini_batch(self, *, tabular: bool) -> int:
        """`mini_batch_size` as a plain number: of bytes for a tabular dataset, else of files."""
        size = self.mini_batch_size or (DEFAULT_TABULAR_MINI_BATCH if tabular else DEFAULT_FILE_MINI_BATCH)
        return size_in_units(size)

    @staticmethod
    def default(name: str) -> Any:
        return next(f.default for f in fields(ParallelRunSettings) if f.name == name)

    @staticmethod
    def widget(name: str) -> dict[str, Any]:
        """Label, default, help and range of one setting, as keyword arguments of the Streamlit widget that fits it."""
        setting, default = TABLE[name], ParallelRunSettings.default(name)
        options: dict[str, Any] = {"label": setting.label, "help": f"{setting.help}  \n`{name}`", "key": name}
        if setting.unset:
            options["placeholder"] = setting.unset
        if setting.options:
            return options | {"options": list(setting.options), "index": setting.options.index(default)}
        if setting.minimum is not None:
            step = 1.0 if isinstance(setting.minimum, float) else 1  # Streamlit wants all of one number type
            bounds = {"min_value": setting.minimum, "max_value": setting.maximum, "step": step}
            return options | {"value": default} | {k: v for k, v in bounds.items() if v is not None}
        return options | {"value": default or ""}


TABLE: dict[str, Setting] = {f.name: f.metadata["setting"] for f in fields(ParallelRunSettings)}
"""Every setting by its name, in the order of the form."""
