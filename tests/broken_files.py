"""The analyst's walk: many files of one row of twelve numbers, of which seven are broken in seven ways, and a model for them.

Every good file has a prediction, 0 or 1; the built-in script says of every broken one what is wrong with it.
"""

from __future__ import annotations

from pathlib import Path

FIELDS = 12
_ROW = ",".join(f"{number / 10}" for number in range(FIELDS))

BROKEN: dict[str, tuple[bytes, str]] = {
    "order_0017.csv": (",".join(["0.5"] * 9).encode() + b"\n", "it has 9 fields, and the model takes 12"),
    "order_0063.csv": (b"", "it is empty"),
    "order_0140.csv": (
        ",".join(f"x{number}" for number in range(FIELDS)).encode() + b"\n" + _ROW.encode() + b"\n",
        "it begins with a header row; one row of numbers is expected",
    ),
    "order_0222.csv": (_ROW.encode("utf-16"), "it is UTF-16 text, not UTF-8"),
    "order_0305.csv": (_ROW.replace("0.3", "n/a").encode() + b"\n", "1 of 12 fields is not a number: column 4"),
    "order_0388.csv": (_ROW.replace(",", ";").encode() + b"\n", "its fields are separated by semicolons, not by commas"),
    "order_0471.csv": (f"{_ROW}\n{_ROW}\n".encode(), "it has 2 rows, 24 fields in all, and the model takes 12"),
}
"""Of each broken file its name, its content, and the built-in script's sentence about it."""


def write_files(folder: Path, count: int = 500) -> Path:
    """Make `folder` with `order_0001.csv` and so on, `count` files, with all of `BROKEN` where there are 471 or more."""
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        name = f"order_{number:04}.csv"
        row = [float(number % 2), *((number * place) % 17 / 10 for place in range(1, FIELDS))]
        content = BROKEN[name][0] if name in BROKEN else ",".join(map(str, row)).encode() + b"\n"
        (folder / name).write_bytes(content)
    return folder


def train_model(path: Path) -> Path:
    """Write a classifier of such rows, dumped by joblib, which accepts NaN: the first number, 0 or 1."""
    import joblib
    from sklearn.tree import DecisionTreeClassifier

    rows = [[float(number % 2), *([0.5] * (FIELDS - 1))] for number in range(20)]
    joblib.dump(DecisionTreeClassifier().fit(rows, [number % 2 for number in range(20)]), path)
    return path
