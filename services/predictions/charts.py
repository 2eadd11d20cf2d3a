"""The numbers behind the charts of a table: how a column spreads, over folders, over time, two columns against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from services.predictions.columns import NUMERIC, quoted
from services.predictions.filters import EVERY_PREDICTION, Filter
from services.predictions.reader import Predictions


def histogram(table: Predictions, filter_: Filter = EVERY_PREDICTION, bins: int = 40, column: str = "") -> list[tuple[float, float, int]]:
    """At most `bins` bars with round edges: (lower, upper, count), from lower up to upper, which only the last one includes where that is
    the greatest number. Whole numbers get bars that hold equally many of them. Empty where there are no numbers. `column` "" is the
    prediction's number."""
    return table.histogram(column or table.own["Number"], filter_, bins)


def numbers_by_class(
    table: Predictions, filter_: Filter = EVERY_PREDICTION, column: str = "", by: str = "Prediction", bins: int = 40, classes: int = 8
) -> tuple[list[tuple[float, float]], dict[Any, list[int]]]:
    """How a column of numbers spreads in each class of the column `by`: the bins (lower, upper), those of `histogram`, and of each of the
    `classes` most frequent the count of each bin."""
    edges = [(lower, upper) for lower, upper, _ in histogram(table, filter_, bins, column)]
    if not edges:
        return [], {}
    counts = table.histograms(column or table.own["Number"], by, [edges[0][0], *(upper for _, upper in edges)], filter_, classes)
    return edges, {value: of_bars for value, of_bars in counts if value is not None}


def classes_over_folders(
    table: Predictions, filter_: Filter = EVERY_PREDICTION, folders: int = 30, classes: int = 10, by: str = "Prediction"
) -> list[tuple[str, Any, int]]:
    """How many rows of each folder have each class of the column `by`: (folder, class, count), of the folders and classes with the most
    rows."""
    if (counted := table.two_counted(table.own["Folder"], by, filter_)) is not None:
        return _most_frequent_pairs(counted, folders, classes)
    in_folder, name = quoted(table.own["Folder"]), table.column_name(by)
    most_frequent = f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {folders:d}"
    values = {
        "folders": [folder for folder, _ in table.rows(f"{in_folder}, count(*)", filter_, most_frequent)],
        "classes": [
            value for value, _ in table.rows(f"{name}::VARCHAR, count(*)", filter_, f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {classes:d}")
        ],
    }
    among = f"{in_folder} IN (SELECT unnest($folders)) AND {name}::VARCHAR IN (SELECT unnest($classes))"
    return table.rows(f"{in_folder}, {name}, count(*)", filter_, f"AND {among} GROUP BY ALL ORDER BY 1, 3 DESC, 2", **values)


def _most_frequent_pairs(counted: Sequence[tuple[Any, Any, int]], folders: int, classes: int) -> list[tuple[str, Any, int]]:
    """Of the folders and classes with the most rows, the folders in their order, and in each the most frequent class first."""
    sums: tuple[Counter[Any], Counter[Any]] = Counter(), Counter()
    for *pair, count in counted:
        for side, value in zip(sums, pair, strict=True):
            side[value] += count
    ranked = [sorted(side.items(), key=lambda item: (-item[1], item[0] is None, str(item[0]))) for side in sums]
    among = [{value for value, _ in side[:most]} - {None} for side, most in zip(ranked, (folders, classes), strict=True)]
    chosen = [row for row in counted if row[0] in among[0] and row[1] in among[1]]
    return sorted(chosen, key=lambda row: (row[0], -row[2], row[1]))


def over_time(
    table: Predictions, filter_: Filter = EVERY_PREDICTION, bins: int = 60, of: str = "", column: str = ""
) -> list[tuple[datetime, datetime, int, float | None]]:
    """When rows were scored (UTC), or the dates of another `column`, in at most `bins` bins of equal length from the first moment to the
    last: (begin, end, count, mean of the column `of`). `of` "" is the prediction's number."""
    x, moment = table.finite_name(of or table.own["Number"]), quoted(column or table.own["Scored at"])
    first, last = table.rows(f"epoch_us(min({moment})), epoch_us(max({moment}))", filter_)[0]
    if first is None:
        return []
    width = max(-(-(last - first + 1) // bins), 1000)
    place = f"((epoch_us({moment}) - $first) // $width)::INTEGER"
    rows = table.rows(f"{place}, count({moment}), avg({x})", filter_, "GROUP BY 1", first=first, width=width)
    found = {place: (count, mean) for place, count, mean in rows}

    def at(place: int) -> datetime:
        return datetime(1970, 1, 1) + timedelta(microseconds=first + place * width)

    return [(at(place), at(place + 1), *found.get(place, (0, None))) for place in range((last - first) // width + 1)]


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
