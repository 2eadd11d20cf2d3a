"""Arrow arrays made of buffers: `pa.array` and `pa.scalar` would import pandas, which takes 0.4 s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.predictions.columns import NUMBER, readable


def text_array(texts: Sequence[str | None]) -> Any:
    """An Arrow array of these texts (large_string), each made readable; None is null."""
    import numpy as np
    import pyarrow as pa

    present: Any = texts
    count, validity = len(texts), None
    if None in texts:
        validity = pa.py_buffer(np.packbits([text is not None for text in texts], bitorder="little"))
        present = [text or "" for text in texts]
    characters = "".join(present)
    if characters.isascii():
        encoded, lengths = characters.encode(), map(len, present)
    else:
        parts = [readable(text).encode() for text in present]
        encoded, lengths = b"".join(parts), map(len, parts)
    ends = np.zeros(count + 1, np.int64)
    np.cumsum(np.fromiter(lengths, np.int64, count), out=ends[1:])
    return pa.LargeStringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(encoded), validity)


def number_array(values: Any, type_: Any) -> Any:
    """A NumPy array as an Arrow array of this type, which must have the same width."""
    import pyarrow as pa

    return pa.Array.from_buffers(type_, len(values), [None, pa.py_buffer(values)])


def whole_number(value: int) -> Any:
    """An Arrow scalar (int64)."""
    import numpy as np
    import pyarrow as pa

    return number_array(np.array([value], np.int64), pa.int64())[0]


def numbers_in(texts: Any) -> Any:
    """The texts that are numbers (see NUMBER) and finite as doubles; null for any other."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = pc.if_else(pc.match_substring_regex(texts, NUMBER), texts, pa.nulls(len(texts), texts.type)).cast(pa.float64())
    return pc.if_else(pc.is_finite(numbers), numbers, pa.nulls(len(texts), numbers.type))
