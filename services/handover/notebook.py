"""A run as a Jupyter notebook (nbformat 4.5) over its predictions. It needs pandas and pyarrow, and nothing of this program.

One file where the predictions are small: they are in it. Otherwise they lie beside it, as Parquet. Text from outside is in the cells as
literals only.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from services import __version__, formats
from services.domain import Run
from services.predictions.annotations import Annotations
from services.predictions.columns import NUMERIC
from services.predictions.filters import EVERY_ROW

if TYPE_CHECKING:
    from services.predictions.reader import Predictions

MOST_EMBEDDED_BYTES = 5_000_000
"""Of Parquet that is put into the notebook itself: its text is a third longer, and a larger one is slow to open."""
_LINE = 120

_INTRODUCTION = """\
# Predictions of a batch scoring run

Each row is an item of the dataset: its file, the prediction, and why there is none where it failed. {place}

Needed: `pip install pandas pyarrow jinja2`
"""
_INSIDE = "The predictions are in this notebook, in the cell after next."
_BESIDE = "The predictions are in the Parquet file beside this notebook, which the next cell names."


def write_predictions(table: Predictions, annotations: Annotations, file: BinaryIO) -> None:
    """All rows of the table with all its columns, as Parquet; notes and corrected labels beside them where there are any."""
    from services.predictions.exports import export

    file.writelines(export(".parquet", table, EVERY_ROW, columns=tuple(table.columns), annotations=annotations or None))


def notebook(run: Run, table: Predictions, facts: Mapping[str, str], parquet: str | bytes) -> bytes:
    """The notebook, UTF-8. `parquet` is the name of the file beside it, or the file itself. `facts` say what the run is, by name."""
    embedded = isinstance(parquet, bytes)
    cells = [
        _markdown(_INTRODUCTION.format(place=_INSIDE if embedded else _BESIDE)),
        _code(f"run = {_dict(facts)}\nrun"),
    ]
    load = "import pandas as pd\n\n"
    if isinstance(parquet, bytes):
        text = base64.b64encode(parquet).decode()
        lines = "".join(f"    {text[begin : begin + _LINE]!r}\n" for begin in range(0, len(text), _LINE))
        cells.append(_code(f"parquet = (\n{lines})", {"jupyter": {"source_hidden": True}}))
        load = f"import base64\nimport io\n\n{load}predictions = pd.read_parquet(io.BytesIO(base64.b64decode(parquet)))\n"
    else:
        load += f"predictions = pd.read_parquet({parquet!r})\n"
    cells.append(_code(load + 'print(f"{len(predictions):,} rows, {len(predictions.columns)} columns")'))
    cells += _about(table)
    content = {
        "cells": [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1).encode()


def facts_of(run: Run) -> dict[str, str]:
    """What a person needs to know of a run, by name."""
    request = run.request
    facts = {
        "run": run.id,
        "title": run.title,
        "status": str(run.status),
        "models": ", ".join(request.models),
        "datasets": ", ".join(request.datasets),
        "scoring script": request.script_name,
        "submitted": formats.utc(run.submitted_at),
        "ended": formats.utc(run.ended_at) if run.ended_at else "",
        "items": formats.number(run.items_total),
        "succeeded": formats.number(run.items_succeeded),
        "failed": formats.number(run.items_failed),
        "written by": f"Batch Scoring Studio {__version__}",
    }
    return {name: value for name, value in facts.items() if value}


def _about(table: Predictions) -> Iterator[dict[str, Any]]:
    """Cells that show the first rows, counts, causes of failures, and a picture."""
    status, error = table.own["Status"], table.own["Cause"]
    yield _markdown("## The first rows")
    yield _code("predictions.head(10)")
    yield _markdown("## How many")
    yield _code(f"predictions[{status!r}].value_counts().to_frame('rows')")
    yield _code(
        f"failures = predictions[predictions[{status!r}] == 'failed']\nfailures[{error!r}].value_counts().head(25).to_frame('rows')"
    )
    yield _markdown("## A picture")
    if table.kind in NUMERIC:
        number = table.own["Number"]
        yield _code(f"numbers = predictions[{number!r}].dropna().astype(float)\nnumbers.describe().to_frame()")
        yield _code(
            "numbers = numbers[numbers.abs() < float('inf')]\n"
            "counts = pd.cut(numbers, 20).value_counts(sort=False) if numbers.nunique() > 1 else numbers.value_counts()\n"
            "counts.to_frame('rows').style.bar(subset=['rows'], color='#7fb3c8', vmin=0)"
        )
    else:
        yield _code(
            "counts = predictions['Prediction'].value_counts().head(25)\n"
            "counts.to_frame('rows').style.bar(subset=['rows'], color='#7fb3c8', vmin=0)"
        )


def _dict(values: Mapping[str, str]) -> str:
    return "{\n" + "".join(f"    {name!r}: {value!r},\n" for name, value in values.items()) + "}"


def _markdown(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source.splitlines(keepends=True)}


def _code(source: str, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    lines = source.splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": None, "metadata": dict(metadata or {}), "outputs": [], "source": lines}
