"""Whatever a CSV file holds, its columns get the types, and its mini-batches the values, that pandas gives the whole."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.intake import csv_records, tabular
from services.local.batching import cut
from services.local.run_folder import PlannedDataset
from services.local.worker_inputs import TabularInput
from services.settings import ParallelRunSettings

whole = st.integers(-(10**6), 10**6).map(str)
decimal = st.floats(-1e6, 1e6).map(repr) | st.decimals(-9, 9, places=4).map(str) | st.floats(allow_nan=False).map(repr)
# No whole numbers beyond 64 bits: beside one of them, pandas takes no word for a missing value.
odd = st.sampled_from(
    ["", "NA", "nan", "-nan", "null", "None", "inf", "-Infinity", "1e5", "1e400", "-0.0", "007", "+5", "0x10", "1_000", " 7", "7 ",
     ".5", "5.", "-", "--", ".", "1.2.3", "1-2", "2026-01-02", "12:30", "True", "FALSE", "true", "yes", "t", "a b", "ü",
     "0.30000000000000004", "9223372036854775807", "5684341886080801486968994140625e-44", '"a,b"', '"x\ny"', '"1"', '"say ""x"""', '""']
)  # fmt: skip
KINDS = [
    whole,
    decimal,
    whole | st.just(""),
    decimal | st.just(""),
    whole | decimal,
    odd,
    whole | odd,
    decimal | odd,
    st.sampled_from(["True", "False", ""]),
]


@st.composite
def csv_files(draw: st.DrawFn) -> tuple[list[list[list[str]]], str]:
    """The rows of each of some files, and how their lines end."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    row = st.tuples(*kinds).map(list).filter(lambda fields: len(fields) > 1 or fields[0].strip())  # else a blank line
    return draw(st.lists(st.lists(row, max_size=12), min_size=1, max_size=3).filter(any)), draw(st.sampled_from(["\n", "\r\n"]))


@pytest.mark.slow  # hundreds of datasets are made
@given(csv_files(), st.sampled_from([1, 30, 1 << 22]), st.sampled_from([1, 100, 1 << 20]), st.sampled_from(["1", "40", "1MB"]))
def test_types_and_values_are_those_that_pandas_gives_the_whole(files, typed_at_once, block, size):
    rows_of_files, newline = files
    names = [f"c{number}" for number in range(len(next(filter(None, rows_of_files))[0]))]
    header = ",".join(names) + newline
    bodies = ["".join(",".join(row) + newline for row in rows) for rows in rows_of_files]
    whole = pandas.read_csv(io.StringIO(header + "".join(bodies), newline=""), low_memory=False)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tabular, "_TYPED_AT_ONCE", typed_at_once)
        patch.setattr(csv_records, "_BLOCK", block)
        root = Path(folder)
        listed = []
        for number, body in enumerate(bodies):
            path = root / f"{number}.csv"
            path.write_bytes((header + body).encode())
            listed.append(json.dumps([path.name, path.stat().st_size, path.stat().st_mtime_ns]) + "\n")
        (root / tabular.FILES).write_text("".join(listed), encoding="ascii")
        table = tabular.inspect_table(root, root)
        assert table.columns == tuple((name, str(dtype)) for name, dtype in whole.dtypes.items())
        dataset = PlannedDataset("t:1", folder, str(root / tabular.MANIFEST), len(whole), table.format, table.columns)
        with open(dataset.manifest, "rb") as manifest:
            source = TabularInput(dataset.for_worker(), manifest)
            batches = list(cut([dataset], ParallelRunSettings(mini_batch_size=size)))
            frames = [source.mini_batch(source.entries(batch.offset, batch.length)) for batch in batches]
        assert [len(frame) for frame in frames] == [batch.item_count for batch in batches]
    pandas.testing.assert_frame_equal(pandas.concat(frames, ignore_index=True), whole, check_exact=True)
