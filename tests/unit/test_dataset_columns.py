"""The columns of a dataset beside what is judged."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from services.domain import TabularDataset
from services.intake.dataset_columns import write_columns


def test_moments_of_any_zone_are_kept_in_utc(tmp_path: Path):
    moment = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)
    columns = {"here": pa.array([moment], pa.timestamp("ns", "Europe/Berlin")), "utc": pa.array([moment], pa.timestamp("us", "UTC"))}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    of_types = (("here", "datetime"), ("utc", "datetime"))
    dataset = TabularDataset("t", 1, str(tmp_path), "", True, 1, 1, "", "", moment, format="parquet", columns=of_types, row_count=1)
    write_columns(dataset, [("a.parquet", tmp_path / "a.parquet")], ["here", "utc"], tmp_path / "columns.parquet")
    written = parquet.read_table(tmp_path / "columns.parquet")
    assert {str(written.schema.field(name).type) for name in ("c0", "c1")} == {"timestamp[us]"}
    assert written.to_pylist()[0]["c0"] == written.to_pylist()[0]["c1"] == moment.replace(tzinfo=None)
