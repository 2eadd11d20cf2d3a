from __future__ import annotations

import hashlib
import io
import json
from urllib.parse import urlencode

import pytest

from services.predictions.filters import Filter
from tests.pages.scripts import NUMBERS, THREE_CLASSES


def test_every_download_holds_what_is_shown_in_its_order(ended, download):
    import pandas as pd

    run = ended(NUMBERS)
    asked = {"filter": Filter(text="000").to_text(), "sort": "-Number"}
    wanted = [f"000{n}.csv" for n in range(9, -1, -1)]
    assert list(pd.read_csv(io.BytesIO(download(run, **asked)[2]))["File"]) == wanted
    parquet = pd.read_parquet(io.BytesIO(download(run, "parquet", **asked, columns="all")[2]))
    assert list(parquet["File"]) == wanted
    assert "Mini-batch" in parquet.columns
    status, _, body = download(run, "xlsx", **asked)
    assert (status, body[:2]) == (200, b"PK")
    told = json.loads(download(run, "json", **asked)[2])
    assert told["file"]["rows"] == 10
    assert told["file"]["sha256"] == hashlib.sha256(download(run, **asked)[2]).hexdigest()


def test_the_file_as_the_run_wrote_it_is_downloaded_and_no_other(ended, get, workspace):
    run = ended(THREE_CLASSES)
    status, headers, body = get(f"downloads/output?run={run.id}&name=parallel_run_step.txt")
    assert (status, body) == (200, workspace.runs.output(run.id)["parallel_run_step.txt"].read_bytes())
    assert headers["content-length"] == str(len(body))
    assert headers["content-disposition"] == "attachment; filename*=utf-8''parallel_run_step.txt"
    for name in ("../plan.json", "/etc/passwd", "..", "", "parallel_run_step.txt\0"):
        assert get(f"downloads/output?{urlencode({'run': run.id, 'name': name})}")[0] == 404


@pytest.mark.parametrize("path", ["predictions.csv", "output"])
@pytest.mark.parametrize("run", ["nope", "../../x", "", "%ED%B3%BF"])
def test_a_download_of_an_unknown_run_is_refused_in_words(get, workspace, path, run):
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
