from __future__ import annotations

import hashlib
import io
import json
from urllib.parse import urlencode

import pytest

from services.predictions.filters import Filter
from tests.pages.scripts import NUMBERS, THREE_CLASSES


def test_every_download_has_the_shown_rows_in_order(ended, download):
    import pandas as pd

    run = ended(NUMBERS)
    query = {"filter": Filter(text="000").to_text(), "sort": "-Number"}
    expected = [f"000{n}.csv" for n in range(9, -1, -1)]
    assert list(pd.read_csv(io.BytesIO(download(run, **query)[2]))["File"]) == expected
    parquet = pd.read_parquet(io.BytesIO(download(run, "parquet", **query, columns="all")[2]))
    assert list(parquet["File"]) == expected
    assert "Mini-batch" in parquet.columns
    status, _, body = download(run, "xlsx", **query)
    assert (status, body[:2]) == (200, b"PK")
    provenance = json.loads(download(run, "json", **query)[2])
    assert provenance["file"]["rows"] == 10
    assert provenance["file"]["sha256"] == hashlib.sha256(download(run, **query)[2]).hexdigest()


def test_only_output_files_of_the_run_are_downloaded(ended, get, workspace):
    run = ended(THREE_CLASSES)
    status, headers, body = get(f"downloads/output?run={run.id}&name=parallel_run_step.txt")
    assert (status, body) == (200, workspace.runs.output(run.id)["parallel_run_step.txt"].read_bytes())
    assert headers["content-length"] == str(len(body))
    assert headers["content-disposition"] == "attachment; filename*=utf-8''parallel_run_step.txt"
    for name in ("../plan.json", "/etc/passwd", "..", "", "parallel_run_step.txt\0"):
        assert get(f"downloads/output?{urlencode({'run': run.id, 'name': name})}")[0] == 404


@pytest.mark.parametrize("path", ["predictions.csv", "output"])
@pytest.mark.parametrize("run", ["nope", "../../x", "", "%ED%B3%BF"])
def test_a_download_of_an_unknown_run_is_not_found(get, workspace, path, run):
    status, headers, body = get(f"downloads/{path}?run={run}&name=x")
    assert (status, headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert b"There is no run" in body


def test_the_download_is_named_after_the_run_and_the_filter(ended, download):
    run = ended(THREE_CLASSES, name='evil\r\nSet-Cookie: a=b; "../../x" <b>ünï</b>')
    _, headers, _ = download(run, filter=Filter(classes=("class 1",)).to_text())
    name = headers["content-disposition"].partition("''")[2]
    assert "/" not in name
    assert '"' not in name
    assert "%C3%BCn%C3%AF" in name
    assert name.endswith("class%201.csv")
