"""Bins of numbers with round edges, such as 0.02 to 0.04: they nest, so that wide bins are made of narrow ones, whatever was known when
the narrow ones were counted.

A width is 1, 2 or 5 times a power of ten. An edge is a whole multiple of it as the nearest double, which is exactly what a person gets who
writes it: of bins of 0.001 there is one that begins at 0.55.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

LARGEST_EXPONENT = 22
"""The powers of ten up to this one are doubles."""
_LARGEST_PLACE = 2**51
"""Edges up to there are doubles that differ, and are computed exactly."""
_STEPS = (1, 2, 5)


@dataclass(frozen=True)
class Width:
    """`step` (1, 2 or 5) times ten to the `exponent`."""

    step: int
    exponent: int

    def edge(self, place: int) -> float:
        """Where the bin at this place begins: 0 is the one that begins at 0. Infinite beyond the doubles."""
        try:
            if self.exponent < 0:
                return place * self.step / _ten_to(-self.exponent)  # of whole numbers Python rounds a quotient correctly
            return float(place * self.step * _ten_to(self.exponent))
        except OverflowError:
            return math.copysign(math.inf, place)

    def place(self, value: float) -> int:
        """The place of the bin that holds this finite number: from its edge up to the next one, which isn't in it."""
        numerator, denominator = value.as_integer_ratio()
        if self.exponent < 0:
            place = numerator * _ten_to(-self.exponent) // (denominator * self.step)
        else:
            place = numerator // (denominator * self.step * _ten_to(self.exponent))
        if self.edge(place + 1) <= value:  # the edge is the nearest double, which the number may be
            return place + 1
        return place - 1 if value < self.edge(place) else place

    def places(self, values: Any) -> tuple[Any, Any]:
        """The same of a NumPy array of finite doubles, as doubles, and whether each lies on its bin's edge. Where `is_exact` of all."""
        import numpy as np

        if self.exponent < 0:
            scale, divisor = 10.0**-self.exponent / self.step, 10.0**-self.exponent
            places = np.floor(values * scale)
        else:
            scale, divisor = self.step * 10.0**self.exponent, 1.0
            places = np.floor(values / scale)
        step = float(self.step) if self.exponent < 0 else scale
        edges = places * step / divisor
        above, below = values >= (places + 1) * step / divisor, values < edges
        if above.any() or below.any():  # the quotient was rounded
            places = places + above - below
            edges = places * step / divisor
        return places, values == edges

    def is_exact(self, least: float, greatest: float) -> bool:
        """Whether NumPy computes the edges around these numbers exactly."""
        largest = max(abs(least), abs(greatest))
        if abs(self.exponent) > LARGEST_EXPONENT:
            return False
        return (
            abs(self.place(largest) + 1) * self.step < _LARGEST_PLACE
            if self.exponent < 0
            else largest < _LARGEST_PLACE * 10.0**self.exponent
        )


def _ten_to(exponent: int) -> int:
    return int(10**exponent)


def widths_from(width: float) -> Any:
    """Widths of at least this, ascending."""
    exponent = math.floor(math.log10(width)) if width > 0 else -LARGEST_EXPONENT
    while True:
        yield from (Width(step, exponent) for step in _STEPS if Width(step, exponent).edge(1) >= width)
        exponent += 1


# ---- levels: widths of which each is a multiple of the one before -----------------------------------------------------------------------

LEAST_LEVEL, GREATEST_LEVEL = -2 * LARGEST_EXPONENT, 2 * LARGEST_EXPONENT
UNIT_LEVEL = 0
"""Bins of width 1: the narrowest for whole numbers."""


def level_width(level: int) -> Width:
    return Width((1, 5)[level % 2], level // 2)


def level_of(width: float) -> int:
    """The lowest level whose bins are at least so wide."""
    level = max(LEAST_LEVEL, 2 * (math.floor(math.log10(width)) - 1)) if width > 0 else LEAST_LEVEL
    while level < GREATEST_LEVEL and level_width(level).edge(1) < width:
        level += 1
    return level


def narrow_bins_in(narrow: int, wide: int) -> int:
    """How many bins of one level make one of a higher level."""
    narrow_width, wide_width = level_width(narrow), level_width(wide)
    return wide_width.step * _ten_to(wide_width.exponent - narrow_width.exponent) // narrow_width.step
