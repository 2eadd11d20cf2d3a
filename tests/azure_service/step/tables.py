"""The tables of a step: its tabular datasets' files, read as the dataset's own definition says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TYPES = {"int": "int64", "float": "float64", "string": "str", "boolean": "bool", "datetime": "datetime64[ns]"}


def read_tables(dataset: dict[str, Any]) -> Iterator[tuple[Any, int]]:
    """Each file's rows as a DataFrame, its keys as the last columns; and its size in bytes. Needs pandas."""
    for path, keys in zip(dataset["files"], dataset["keys"], strict=True):
        file = Path(dataset["root"]) / path
        frame = _read(file, dataset["types"], parquet=dataset["parquet"])
        for key, value in keys.items():
            frame[key] = value
        yield frame, file.stat().st_size


def _read(file: Path, types: dict[str, str], *, parquet: bool) -> Any:
    import pandas as pd

    if parquet:
        return pd.read_parquet(file)
    texts = {name: "str" for name, type_ in types.items() if type_ == "string"}
    frame = pd.read_csv(file, dtype=texts, low_memory=False)  # type: ignore[arg-type]
    for name, type_ in types.items():
        if name not in frame or type_ == "string":
            continue
        if frame[name].isna().any() and type_ in ("int", "boolean"):
            frame[name] = frame[name].astype("float64" if type_ == "int" else "object")
        else:
            frame[name] = frame[name].astype(_TYPES[type_])
    return frame
