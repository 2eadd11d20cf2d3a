"""Workbooks (Excel's and OpenDocument's), made Parquet: a sheet each, read by calamine, its values and types as pandas.read_excel has them.

Formulas give the values that were stored with them; of merged cells the first has the value. A workbook is in memory as a whole, so its
size is checked before. Loads pandas: for a process of its own.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import python_calamine
from python_calamine import CalamineSheet, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from services.errors import IntakeError, SettingsError
from services.file_names import file_stem, quoted, short
from services.formats import counted
from services.intake.column_types import Columns, TableFile, as_date
from services.intake.tabular import different_columns
from services.storage.file_tree import reading as opened_for_reading

MOST_BYTES = 1 << 30
"""That a workbook may unpack to."""

_RATIO = 200
_SMALL_ENOUGH = 1 << 26
_MOST_CELLS = 50_000_000
_LOOKED_AT = 30  # rows in which the header is looked for
_ROWS = 50_000  # written at once


@dataclass(frozen=True)
class _Sheet:
    """A sheet as it will be read: the rows to pass over, the number of rows of data, and the name of its Parquet file."""

    file: str
    path: Path
    name: str
    target: str
    skipped: tuple[int, ...]
    header: bool
    zeros: Mapping[int, str]
    """By the column's number, an example of a text with leading zeros."""


class WorkbookConversion:
    """`files` are names and paths, in their order; `sheets` those to read of each, else the first that is visible and holds something."""

    def __init__(self, files: Sequence[tuple[str, Path]], types: Mapping[str, str], sheets: Sequence[str], header: bool | None) -> None:
        self._files, self._types, self._wanted, self._header = files, types, sheets, header is not False
        self._notes: list[str] = []
        self.sheets: tuple[str, ...] = ()
        """All sheets of the first workbook that hold something."""
        self.read: tuple[str, ...] = ()
        """Those of it that are read."""
        self.leading_zeros: tuple[tuple[str, str], ...] = ()
        """Columns whose leading zeros are lost, each with an example."""
        self.made_of: dict[str, list[str]] = {}
        """By the name of each file, those of the Parquet files that were made of it."""

    def convert(self, target: Path) -> tuple[str, ...]:
        """Write each sheet's rows to `target`/NAME.parquet, or to NAME.SHEET.parquet where several are wanted; what a person should know.
        Raises IntakeError, and SettingsError on sheet or column."""
        sheets = [sheet for name, path in self._files for sheet in self._sheets(name, path)]
        columns: Columns | None = None
        dates: dict[str, bool] = {}
        zeros: dict[str, str] = {}
        for sheet in sheets:
            frame, leading = self._frame(sheet)
            zeros = leading | zeros
            names = [str(name) for name in frame.columns]
            if columns is None:
                columns = Columns(names, self._types)
            elif names != columns.names:
                raise different_columns(f"{sheet.file}, {sheet.name}", names, f"{sheets[0].file}, {sheets[0].name}", columns.names)
            columns.see(frame, sheet.file, 1)
            for number, name in enumerate(names):
                column = frame.iloc[:, number]
                if column.dtype.kind == "M":
                    dates[name] = dates.get(name, True) and bool((column.dropna().dt.normalize() == column.dropna()).all())
        assert columns is not None
        schema = columns.schema()
        for name, only_days in dates.items():
            number = columns.names.index(name)
            if only_days and name not in self._types and columns.dtype(number) == "datetime":
                schema = schema.set(number, as_date(schema.field(number)))
        for sheet in sheets:
            frame, _ = self._frame(sheet)
            self.made_of.setdefault(sheet.file, []).append(sheet.target)
            with TableFile(target / sheet.target, schema) as made:
                for begin in range(0, len(frame), _ROWS):
                    made.write(columns.table(frame.iloc[begin : begin + _ROWS]).cast(schema))
        lost = [(name, example) for name, example in zeros.items() if name not in self._types]
        self.leading_zeros = tuple(each for each in lost if columns.dtype(columns.names.index(each[0])) != "str")
        return tuple(self._notes)

    def _sheets(self, file: str, path: Path) -> Iterator[_Sheet]:
        check_size(path, file)
        with _calamine_errors(file):
            workbook = CalamineWorkbook.from_path(path)
            visible = [
                sheet.name
                for sheet in workbook.sheets_metadata
                if sheet.typ is SheetTypeEnum.WorkSheet and (sheet.visible is SheetVisibleEnum.Visible or sheet.name in self._wanted)
            ]
            for name in self._wanted:
                if name not in workbook.sheet_names:
                    there = quoted(workbook.sheet_names, 20)
                    raise SettingsError("sheet", f"“{short(file)}” has no sheet “{short(name)}”", f"Those there are: {there}.")
            filled = {name: sheet for name in visible if (sheet := workbook.get_sheet_by_name(name)).height and sheet.width}
        if not filled:
            raise IntakeError(f"“{short(file)}” holds no sheet with values.", "Choose a workbook that holds some.")
        chosen = list(self._wanted) or list(filled)[:1]
        if not self.sheets:
            self.sheets, self.read = tuple(filled), tuple(chosen)
            others = [name for name in filled if name not in chosen]
            if others and not self._wanted:
                verb = "is" if len(others) == 1 else "are"
                self._notes.append(f"Only sheet “{short(chosen[0])}” is read; there {verb} {quoted(others)} too.")
        for number, name in enumerate(chosen):
            if name not in filled:
                raise SettingsError("sheet", f"sheet “{short(name)}” of “{short(file)}” is empty", "Choose one that holds values.")
            sheet = filled[name]
            if sheet.total_height * sheet.total_width > _MOST_CELLS:
                text = f"Sheet “{short(name)}” of “{short(file)}” spans {sheet.total_height:,} rows of {sheet.total_width:,} cells."
                raise IntakeError(text, "Delete the empty rows and columns, or save it as CSV.")
            target = f"{file}.parquet" if len(chosen) == 1 else f"{file}.{number + 1:02}-{file_stem(name) or 'sheet'}.parquet"
            rows = sheet.to_python(skip_empty_area=False)
            zeros: dict[int, str] = {}
            for row in rows:
                for place, value in enumerate(row):
                    if isinstance(value, str) and value[:1] == "0" and place not in zeros and re.fullmatch(r"0\d[\d.]*", value):
                        zeros[place] = value
            yield _Sheet(file, path, name, target, self._rows_to_pass_over(file, sheet, rows), self._header, zeros)

    def _rows_to_pass_over(self, file: str, sheet: CalamineSheet, rows: Sequence[Sequence[Any]]) -> tuple[int, ...]:
        """Empty rows, and those above the header: a title has one cell filled, a header as many as the rows below it, or almost."""
        filled = [sum(value != "" for value in row) for row in rows]
        widest = max(filled[: sheet.start[0] + _LOOKED_AT] if sheet.start else filled)
        top = next(number for number, count in enumerate(filled) if count * 2 > widest or (count and not self._header))
        titles = sum(1 for count in filled[:top] if count)
        where = f"sheet “{short(sheet.name)}” of “{short(file)}”"
        if titles:
            self._notes.append(f"{counted(titles, 'row')} above the header of {where} {'is' if titles == 1 else 'are'} passed over.")
        empty = [number for number, count in enumerate(filled) if not count and number > top]
        if empty and max(empty, default=0) < len(rows):
            self._notes.append(f"{counted(len(empty), 'empty row')} of {where} {'is' if len(empty) == 1 else 'are'} passed over.")
        merged = [each for each in sheet.merged_cell_ranges or () if each[1][0] >= top]
        if merged:
            text = f"{where} has {counted(len(merged), 'group')} of merged cells: the first of each has the value, the others are missing."
            self._notes.append(text[0].upper() + text[1:])
        if len(rows) - len(empty) - top <= int(self._header):
            raise IntakeError(f"There are no rows below the header of {where}.", "Choose a sheet that holds some.")
        return (*range(top), *empty)

    def _frame(self, sheet: _Sheet) -> tuple[pandas.DataFrame, dict[str, str]]:
        """As pandas reads it, and examples of texts with leading zeros. Columns without a header and a value are left out."""
        types = dict.fromkeys(self._types, object)
        with _calamine_errors(sheet.file):
            frame = pandas.read_excel(
                sheet.path, sheet_name=sheet.name, engine="calamine", skiprows=list(sheet.skipped), header=0 if sheet.header else None,
                dtype=types,
            )  # fmt: skip
        if not sheet.header:
            frame.columns = pandas.Index([f"Column{number + 1}" for number in range(frame.shape[1])])
        frame.columns = pandas.Index([_text(name) for name in frame.columns])
        unnamed = (re.fullmatch(r"Unnamed: \d+", name) and frame.iloc[:, n].isna().all() for n, name in enumerate(frame.columns))
        kept = [number for number, without in enumerate(unnamed) if not without]
        return frame.iloc[:, kept], {str(frame.columns[number]): sheet.zeros[number] for number in kept if number in sheet.zeros}


def _text(name: Any) -> str:
    return str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)


def check_size(path: Path, name: str) -> None:
    """Raises IntakeError for a workbook that unpacks to too much, by its own list and by what its parts unpack to."""
    with opened_for_reading(path) as opened:
        if opened.read(2) != b"PK":
            return  # an old .xls is not packed
    limit = min(MOST_BYTES, max(_SMALL_ENOUGH, path.stat().st_size * _RATIO))
    unpacked = 0
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > limit:
                raise _too_much(name, limit)
            for member in archive.infolist():
                with archive.open(member) as part:  # what a list says of itself may be a lie
                    while chunk := part.read(1 << 20):
                        unpacked += len(chunk)
                        if unpacked > limit:
                            raise _too_much(name, limit)
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, RuntimeError, NotImplementedError) as error:
        raise IntakeError(f"“{short(name)}” is a damaged or protected workbook: {error}.", "Save it again, without a password.") from error


def _too_much(name: str, limit: int) -> IntakeError:
    return IntakeError(f"“{short(name)}” unpacks to more than {limit >> 20:,} MB.", "Save its sheet as CSV.")


@contextmanager
def _calamine_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (python_calamine.CalamineError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise IntakeError(f"“{short(name)}” can't be read as a workbook: {reason}.", "Save it again, without a password.") from error
