"""Whether two sets of predictions differ as a whole: the population stability index, and a test that fits their type.

PSI is the sum over bins of (new share - old share) × ln(new / old); below 0.1 reads as stable, above 0.25 as a shift (the usual reading
in credit scoring). Classes get Pearson's chi-square test (`scipy.stats.chi2_contingency`), numbers the two-sample Kolmogorov-Smirnov
test (`scipy.stats.ks_2samp`; its statistic is computed by DuckDB, of a sample where there are many).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

STABLE, SHIFTED = 0.1, 0.25
FEWEST = 100
"""Rows on either side below which a PSI says little: with ten bins, noise alone makes about 18 / rows of it."""
_MANY = 100_000
_SAMPLE = 200_000
_EXPECTED = 5
_BINS = 10
_HALF_A_ROW = 0.5


@dataclass(frozen=True)
class Drift:
    """`statistic` is chi-square, or Kolmogorov-Smirnov's D; `warnings` say what makes these figures weak."""

    test: str
    statistic: float
    p_value: float
    psi: float
    warnings: tuple[str, ...]

    @property
    def describe(self) -> str:
        """`stable`, `moderate shift` or `shifted`, by the PSI."""
        return "stable" if self.psi < STABLE else "moderate shift" if self.psi < SHIFTED else "shifted"


def drift_of_classes(mix: Sequence[tuple[str, int, int]]) -> Drift:
    """Of counts: (class, old rows, new rows)."""
    before, after = [old for _, old, _ in mix], [new for _, _, new in mix]
    old_rows, new_rows = sum(before), sum(after)
    warnings = _size_warnings(old_rows, new_rows)
    statistic, p_value = 0.0, 1.0
    if len(mix) > 1 and old_rows and new_rows:
        from scipy.stats import chi2_contingency

        result = chi2_contingency([before, after], correction=False)
        statistic, p_value = float(result.statistic), float(result.pvalue)
        if rare := [name for (name, _, _), expected in zip(mix, result.expected_freq.T, strict=True) if min(expected) < _EXPECTED]:
            warnings.append(
                f"{len(rare)} of {len(mix)} classes are expected fewer than {_EXPECTED} times: the chi-square test is rough there."
            )
    return Drift("chi-square", statistic, p_value, _psi(before, after), tuple(warnings))


def drift_of_numbers(query: Callable[[str], list[tuple[Any, ...]]]) -> Drift:
    """Of the column Number in the tables `older` and `newer`; `query` answers SQL over them."""
    (before,), (after,) = query("SELECT count(Number) FROM older")[0], query("SELECT count(Number) FROM newer")[0]
    if not before or not after:
        return Drift("Kolmogorov-Smirnov", math.nan, math.nan, math.nan, tuple(_size_warnings(before, after)))
    warnings = _size_warnings(before, after)
    older, newer = _sampled("older", before), _sampled("newer", after)
    if max(before, after) > _SAMPLE:
        warnings.append(f"The test is of about {_SAMPLE:,} rows of each run, taken at random.")
    # The largest gap between the shares of rows up to each value.
    distance, old_rows, new_rows = query(
        "SELECT max(abs(b / all_b - n / all_n)), any_value(all_b), any_value(all_n) FROM (SELECT sum(b) OVER up_to AS b,"
        " sum(n) OVER up_to AS n, sum(b) OVER () AS all_b, sum(n) OVER () AS all_n FROM"
        f" (SELECT v, sum(b) AS b, sum(n) AS n FROM (SELECT Number AS v, 1 AS b, 0 AS n FROM {older} WHERE Number IS NOT NULL"
        f" UNION ALL SELECT Number, 0, 1 FROM {newer} WHERE Number IS NOT NULL) GROUP BY v)"
        " WINDOW up_to AS (ORDER BY v))"
    )[0]
    from scipy.stats import kstwo

    p_value = float(kstwo.sf(distance, max(1, round(old_rows * new_rows / (old_rows + new_rows)))))
    shares = [number / _BINS for number in range(1, _BINS)]
    (cuts,) = query(f"SELECT quantile_disc(Number, {shares}) FROM {older}")[0]
    edges = sorted(set(cuts))
    place = " + ".join(f"(Number > {edge!r}::DOUBLE)::INTEGER" for edge in edges)
    bins = [dict(query(f"SELECT {place}, count(*) FROM {table} WHERE Number IS NOT NULL GROUP BY 1")) for table in ("older", "newer")]
    counts = [[rows.get(number, 0) for number in range(len(edges) + 1)] for rows in bins]
    return Drift("Kolmogorov-Smirnov", float(distance), p_value, _psi(*counts), tuple(warnings))


def _sampled(table: str, rows: int) -> str:
    """The table, or about _SAMPLE of its rows, the same ones each time: ten million distinct numbers would take half a minute to sort."""
    return table if rows <= _SAMPLE else f"{table} TABLESAMPLE bernoulli({100 * _SAMPLE / rows:.6f} PERCENT) REPEATABLE (7)"


def _size_warnings(before: int, after: int) -> list[str]:
    warnings = []
    if min(before, after) < FEWEST:
        warnings.append(f"There are only {before:,} and {after:,} predictions: too few to tell. These figures may be chance.")
    if min(before, after) > _MANY:
        warnings.append("With so many rows the test finds the smallest difference; the PSI says how large it is.")
    return warnings


def _psi(before: Sequence[int], after: Sequence[int]) -> float:
    """An empty bin counts as half a row, since the logarithm needs one."""
    if not sum(before) or not sum(after):
        return math.nan
    old = [max(count, _HALF_A_ROW) / sum(before) for count in before]
    new = [max(count, _HALF_A_ROW) / sum(after) for count in after]
    return sum((n - o) * math.log(n / o) for o, n in zip(old, new, strict=True))
