"""MLTable files: where files lie, and how rows are read from them. Written in the words in which azureml-core keeps its own datasets:
Azure ML reads both by the same library, which refuses `extract_columns_from_partition_format` as Microsoft's page has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.intake.tabular import CSV, PARQUET, Table
from services.intake.yaml_files import parse_yaml

_TYPES = {"int64": "int", "float64": "float", "bool": "boolean", "object": "boolean"}
"""By pandas's; any other is `string`."""
_FORMATS = {"read_delimited": CSV, "read_parquet": PARQUET}


def mltable(paths: Sequence[Mapping[str, str]], table: Table | None = None, partition_format: str | None = None) -> dict[str, Any]:
    """The rows of `table` in the files at `paths` (`file`, `folder` or `pattern`), or these files. Partition keys are strings."""
    steps: list[dict[str, Any]] = []
    if partition_format:
        steps.append({"extract_columns_from_partition_format": {"partition_format": partition_format}})
    if table and table.format == PARQUET:
        steps.append({"read_parquet": {"include_path_column": False}})
    elif table:
        reader = {"delimiter": ",", "encoding": "utf8", "header": "all_files_same_headers", "include_path_column": False}
        steps.append({"read_delimited": reader | {"infer_column_types": not table.columns, "support_multi_line": False}})
        types = [{"columns": column, "column_type": _TYPES.get(dtype, "string")} for column, dtype in table.columns]
        steps += [{"convert_column_types": types}] if types else []
    return {"type": "mltable", "paths": [dict(path) for path in paths]} | ({"transformations": steps} if steps else {})


def yaml_of(content: Mapping[str, Any]) -> bytes:
    import yaml  # type: ignore[import-untyped]

    return str(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)).encode()


def described(content: bytes, place: str) -> tuple[str, str]:
    """Of an MLTable file in the folder `place`: where its files lie, "" where that is in several places; the format of its rows, "" where
    its items are files. Raises IntakeError for no YAML, and whatever a mapping of another shape gives."""
    table = parse_yaml(content, f"The MLTable file of {place}", "")
    paths = [str(path) for entry in table["paths"] for path in entry.values()]
    steps = [step if isinstance(step, str) else next(iter(step)) for step in table.get("transformations") or ()]
    one = paths[0].removeprefix("./") if len(paths) == 1 else ""
    root = (one if "://" in one else f"{place.rstrip('/')}/{one}") if one else ""
    return root, next((_FORMATS.get(step, CSV) for step in steps if step.startswith("read_")), "")
