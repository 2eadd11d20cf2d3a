"""The numbers behind the charts of a table: how a column spreads, over folders, over time, two columns against each other."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from services.predictions.columns import NUMERIC, quoted
from services.predictions.filters import EVERY_PREDICTION, Filter
from services.predictions.reader import Predictions


def histogram(table: Predictions, filter_: Filter = EVERY_PREDICTION, bins: int = 40, column: str = "") -> list[tuple[float, float, int]]:
    """At most `bins` bins of equal width from the least number to the greatest: (lower, upper, count), the greatest in the last one.
    Whole numbers get bins that hold equally many of them. Empty where there are no numbers. `column` "" is the prediction's number."""
    x = table.finite_name(column or table.own["Number"])
    least, greatest, whole = table.rows(f"min({x}), max({x}), bool_and({x} = trunc({x}))", filter_)[0]
    if least is None:
        return []
    least, greatest = float(least), float(greatest)
    width = greatest / bins - least / bins
    if whole and greatest - least < 2**53:
        width = float(math.ceil((greatest - least + 1) / bins))
        bins = int((greatest - least) // width) + 1
    if not least + width > least:
        bins, width = 1, greatest - least or 1.0
    place = _bin(f"({x})", "least", "width", "last")
    counts = dict(table.rows(f"{place}, count({x})", filter_, "GROUP BY 1", least=least, width=width, last=bins - 1))
    return [(least + place * width, least + (place + 1) * width, counts.get(place, 0)) for place in range(bins)]


def classes_over_folders(
    table: Predictions, filter_: Filter = EVERY_PREDICTION, folders: int = 30, classes: int = 10
) -> list[tuple[str, str | None, int]]:
    """How many rows of each folder have each class: (folder, class, count), of the folders and classes with the most rows."""
    in_folder = quoted(table.own["Folder"])
    most_frequent = f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {folders:d}"
    values = {
        "folders": [folder for folder, _ in table.rows(f"{in_folder}, count(*)", filter_, most_frequent)],
        "classes": [name for name, _ in table.class_counts(filter_, classes)],
    }
    among = f"{in_folder} IN (SELECT unnest($folders)) AND Prediction IN (SELECT unnest($classes))"
    return table.rows(f"{in_folder}, Prediction, count(*)", filter_, f"AND {among} GROUP BY ALL ORDER BY 1, 3 DESC, 2", **values)


def over_time(
    table: Predictions, filter_: Filter = EVERY_PREDICTION, bins: int = 60, of: str = ""
) -> list[tuple[datetime, int, float | None]]:
    """When rows were scored (UTC), in bins of equal length that hold some: (beginning, count, mean of the column `of`). `of` "" is the
    prediction's number."""
    x, scored_at = table.finite_name(of or table.own["Number"]), quoted(table.own["Scored at"])
    first, last = table.rows(f"epoch(min({scored_at})), epoch(max({scored_at}))", filter_)[0]
    if first is None:
        return []
    width = max((last - first) / bins, 0.001)
    place = _bin(f"epoch({scored_at})", "first", "width", "last")
    query = f"make_timestamp((($first + {place} * $width) * 1000000)::BIGINT), count(*), avg({x})"
    return table.rows(query, filter_, "GROUP BY 1 ORDER BY 1", first=first, width=width, last=bins - 1)


def two_columns(
    table: Predictions, x: str, y: str, filter_: Filter = EVERY_PREDICTION, bins: int = 60
) -> list[tuple[float | str | None, float | str | None, int]]:
    """Two columns against each other, counted: (x, y, count). Numbers are put into at most `bins` bins, given by their middles; of other
    columns the `bins` most frequent values are taken."""
    values: dict[str, Any] = {}
    conditions = ""
    expressions = []
    for name, column in (("x", x), ("y", y)):
        quoted_name = table.column_name(column)
        if table.columns[column] in NUMERIC:
            quoted_name = f"({table.finite_name(column)})"
            least, greatest = table.rows(f"min({quoted_name})::DOUBLE, max({quoted_name})::DOUBLE", filter_)[0]
            if least is None:
                return []
            width = (greatest / bins - least / bins) or 1.0
            values |= {f"{name}_least": least, f"{name}_width": width, f"{name}_last": bins - 1}
            place = _bin(quoted_name, f"{name}_least", f"{name}_width", f"{name}_last")
            expressions.append(f"${name}_least + ({place} + 0.5) * ${name}_width")
            conditions += f" AND {quoted_name} IS NOT NULL"
        else:
            values[name] = [
                str(value)
                for value, _ in table.rows(f"{quoted_name}::VARCHAR, count(*)", filter_, f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {bins:d}")
            ]
            expressions.append(f"{quoted_name}::VARCHAR")
            conditions += f" AND {quoted_name}::VARCHAR IN (SELECT unnest(${name}))"
    return table.rows(f"{', '.join(expressions)}, count(*)", filter_, f"{conditions} GROUP BY 1, 2 ORDER BY 1, 2", **values)


def _bin(value: str, least: str, width: str, last: str) -> str:
    # Halves: the whole range may be no double.
    return f"least(floor(({value} / 2 - ${least} / 2) / (${width} / 2)), ${last})::INTEGER"
