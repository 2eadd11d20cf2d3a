"""A model's inputs beside the columns of a table: which column serves which input, and what is missing, extra or of another type."""

from __future__ import annotations

import difflib
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from services import formats
from services.domain import ItemKind, ModelCard, ModelInput, TabularDataset
from services.errors import SettingsError
from services.file_names import short
from services.formats import counted
from services.intake.partition_format import PartitionFormat
from services.scoring.scorers import ScorerOptions

TEXT, INTEGER, NUMBER, BOOLEAN, TENSOR = "text", "integer", "number", "boolean", "tensor"
BY_ORDER = "by-order"
_MOST_NAMED = 10  # columns in a sentence
_MOST_PROBLEMS = 20  # of one sort, each said by itself
_MOST_COMPARED = 2_000  # columns, to find one of a similar name


@dataclass(frozen=True)
class FitProblem:
    """Why it can't work. `where` is the field to change: model, dataset, environment, scorer, inputs, keep, probabilities, top, or
    an argument of the scorer."""

    where: str
    what: str
    hint: str = ""

    def error(self) -> SettingsError:
        return SettingsError(self.where, self.what, self.hint)


@dataclass(frozen=True)
class ColumnMatch:
    """An input of the model and its column, None where it has none. `input` is its name, or its number from 1 where it has none; `by` says
    how it was found: name, similar name, order, choice, type, or ""; the types are in the words of `dataset show`, "" where unknown."""

    input: str
    column: str | None
    by: str = ""
    type: str = ""
    column_type: str = ""

    @property
    def impossible(self) -> bool:
        """Whether the column is of a type that the input certainly can't take."""
        return bool(self.type and self.column_type and _unlike(self.type, self.column_type))


def column_types(dataset: TabularDataset) -> dict[str, str]:
    """The types of a table's columns in words, "" where they aren't known: a pandas type of `object` tells it of a CSV only. The keys of a
    partition format come after the files' own, as `run()` gets them."""
    told = dataset.format == "csv" or bool(dataset.column_types)
    dtypes = dict(dataset.columns)
    own = {name: word if told or dtypes[name] != "object" else "" for name, word in dataset.typed_columns}
    keys = PartitionFormat.parse(dataset.partition_format) if dataset.partition_format else None
    return own | {key: "datetime" if key == keys.date_key else TEXT for key in keys.keys} if keys else own


def named_inputs(card: ModelCard) -> list[ModelInput]:
    """The inputs that are a column each; none where the model doesn't name them, or takes them as one tensor."""
    columns = [item for item in card.inputs if item.type != TENSOR and item.name]
    return columns if len(columns) == len(card.inputs) else []


_NAMES_UNTOLD = ("scikit-learn", "skops", "mlflow")
"""Formats whose models may name their inputs though nothing of it is read from the file."""

_SEPARATORS = str.maketrans("", "", " _.-\t\n\r\xa0")


def _folded(name: str) -> str:
    """A name without what is written in different ways: case, and what stands between its words."""
    normal = name if name.isascii() else unicodedata.normalize("NFKC", name)
    return normal.casefold().translate(_SEPARATORS)


class ColumnMatching:
    """A model's inputs beside a table's columns. Names that are equal; else names that differ in case, blanks, `_`, `-` and `.` only, where
    just one input and one column are called so; else, where no name is known, the order."""

    def __init__(self, card: ModelCard, dataset: TabularDataset, options: ScorerOptions) -> None:
        self.card, self.dataset, self.options = card, dataset, options
        self.problems: list[FitProblem] = []
        self.warnings: list[str] = []
        self.types = column_types(dataset)
        self.columns: tuple[ColumnMatch, ...] = ()
        chosen = self._checked_choices()
        if ItemKind.TEXT in card.takes and ItemKind.TABLE_ROW not in card.takes:
            self._match_text(chosen)
        elif inputs := named_inputs(card):
            self._match_names(inputs, chosen)
        elif card.feature_count is not None:
            self._match_numbers(card.feature_count, chosen)
        else:
            self.columns = tuple(ColumnMatch(name, column, "choice", "", self.types[column]) for name, column in chosen.items())
            self.warnings.append("Which columns the model takes isn't known yet: those that it names, else all of them in their order.")
        used = {match.column for match in self.columns} if self.columns else set(self.types)
        self.unused = tuple(name for name in self.types if name not in used and name not in self.options.keep)
        self._check_types()

    def _checked_choices(self) -> dict[str, str]:
        """The choices that name a column of the table. Columns to keep are checked too."""
        for column in self.options.keep:
            if column not in self.types:
                self.problems.append(FitProblem("keep", f"{self.dataset} has no column “{short(column)}”", self._columns_hint(column)))
        chosen = {}
        for name, column in self.options.inputs.items():
            if column in self.types:
                chosen[name] = column
            else:
                what = f"{self.dataset} has no column “{short(column)}”, which was chosen for the input “{short(name)}”"
                self.problems.append(FitProblem("inputs", what, self._columns_hint(column)))
        return chosen

    def _match_names(self, inputs: Sequence[ModelInput], chosen: Mapping[str, str]) -> None:
        names = [item.name for item in inputs]
        self._check_chosen(chosen, names)
        taken = {column for name, column in chosen.items() if name in names}
        similar = self._similar(names) if any(name not in self.types and name not in chosen for name in names) else {}
        matches: list[ColumnMatch] = []
        for item in inputs:
            column, by = chosen.get(item.name), "choice"
            if column is None and item.name in self.types:
                column, by = item.name, "name"
            if column is None and (column := similar.get(item.name)) in taken:
                column = None
            elif by == "choice" and item.name not in chosen:
                by = "similar name"
            matches.append(self._match(item.name, column, by, item.type))
        known = any(match.column is not None for match in matches)
        wanted = BY_ORDER in self.options.values
        if (not known and not chosen and len(self.types) == len(inputs)) or wanted:
            self._match_by_order(inputs, "None of the model’s inputs is called as a column")
            if not self.problems:
                self.options = replace(self.options, inputs={}, values={**self.options.values, BY_ORDER: ""})
            return
        self.columns = tuple(matches)
        self._say_similar()
        self._say_passed_over()
        missing = [item for item, match in zip(inputs, matches, strict=True) if match.column is None]
        self._say_missing([item.name for item in missing])
        explicit = {match.input: match.column for match in matches if match.column is not None and match.by in ("choice", "similar name")}
        self.options = replace(self.options, inputs=explicit)

    def _match_by_order(self, inputs: Sequence[ModelInput], why: str) -> None:
        if len(self.types) != len(inputs):
            what = f"{self.dataset} has {counted(len(self.types), 'column')}, and the model takes {len(inputs):,}: the order can't tell"
            self.problems.append(
                FitProblem("inputs", what, "Choose a column for each input; on the command line: --input MODEL_INPUT=COLUMN")
            )
            return
        self.columns = tuple(
            self._match(item.name or str(number), column, "order", item.type)
            for number, (item, column) in enumerate(zip(inputs, self.types, strict=True), 1)
        )
        pairs = [f"{match.column} as {match.input}" if match.input != match.column else str(match.column) for match in self.columns]
        self.warnings.append(f"{why}: the {counted(len(pairs), 'column')} of {self.dataset} are taken in their order: {listed(pairs)}.")

    def _match_numbers(self, count: int, chosen: Mapping[str, str]) -> None:
        """A model that knows only how many columns it takes: its inputs are called by their numbers. The scorer is not told to go by the
        order: once it has loaded the model it may know names after all, which a pickle doesn't tell, and then goes by these."""
        type_ = next((NUMBER for item in self.card.inputs if item.type == TENSOR), "")
        inputs = [ModelInput(str(number), type_) for number in range(1, count + 1)]
        self._check_chosen(chosen, [item.name for item in inputs])
        if chosen:
            self.columns = tuple(self._match(item.name, chosen.get(item.name), "choice", type_) for item in inputs)
            self._say_missing([match.input for match in self.columns if match.column is None])
            return
        kept = set(self.options.keep)
        rest = [name for name in self.types if name not in kept]
        told = self.card.inspected_in is not None or self.card.format not in _NAMES_UNTOLD
        why = "The model doesn’t name its inputs" if told else "Whether the model names its inputs is known once it is loaded; if not"
        if len(self.types) == count:
            self._match_by_order(inputs, why)
        elif len(rest) == count:
            self.columns = tuple(self._match(item.name, column, "order", type_) for item, column in zip(inputs, rest, strict=True))
            self.warnings.append(f"{why}: the columns that aren’t kept are taken in their order: {listed(rest)}.")
        else:
            self.columns = tuple(ColumnMatch(item.name, None, "", type_) for item in inputs)
            what = f"{self.dataset} has {counted(len(self.types), 'column')}, and the model takes {count:,}, which it doesn’t name"
            hint = (
                "Choose them, or keep the others beside the prediction; on the command line: "
                f"--input 1=COLUMN … --input {count}=COLUMN, or --keep COLUMN"
            )
            self.problems.append(FitProblem("inputs", what, hint))

    def _match_text(self, chosen: Mapping[str, str]) -> None:
        """A model of texts, which takes one column."""
        name = next((item.name for item in self.card.inputs if item.name), TEXT)
        self._check_chosen(chosen, [name])
        texts = [column for column, type_ in self.types.items() if type_ == TEXT]
        column, by = chosen.get(name), "choice"
        if column is None and name in self.types:
            column, by = name, "name"
        if column is None and len(texts) == 1:
            column, by = texts[0], "type"
            self.warnings.append(f"The model takes a text: the only column of text is taken, “{short(column)}”.")
        self.columns = (self._match(name, column, by, TEXT),)
        if column is None:
            what = f"the model takes a text, and {self.dataset} has {counted(len(texts), 'column')} of text"
            self.problems.append(FitProblem("inputs", what, f"Choose the column; on the command line: --input {short(name)}=COLUMN"))
        else:
            self.options = replace(self.options, inputs={name: column})

    def _match(self, name: str, column: str | None, by: str, type_: str) -> ColumnMatch:
        return ColumnMatch(name, column, by if column is not None else "", type_, self.types[column] if column is not None else "")

    def _similar(self, names: Sequence[str]) -> dict[str, str]:
        """Columns by input, where the names differ in their spelling only, and no other input or column is called so."""
        inputs, columns = ([(name, _folded(name)) for name in every] for every in (names, self.types))
        often, often_here = (Counter(folded for _, folded in every) for every in (inputs, columns))
        by_folded = {folded: name for name, folded in columns if folded and often_here[folded] == 1}
        return {name: by_folded[folded] for name, folded in inputs if often[folded] == 1 and folded in by_folded}

    def _check_chosen(self, chosen: Mapping[str, str], names: Sequence[str]) -> None:
        known = set(names)
        for name in chosen:
            if name not in known:
                what = f"the model has no input “{short(name)}”"
                self.problems.append(FitProblem("inputs", what, f"Its inputs are {listed(names)}."))

    def _say_similar(self) -> None:
        pairs = [f"“{short(match.column or '')}” as “{short(match.input)}”" for match in self.columns if match.by == "similar name"]
        if pairs:
            self.warnings.append(f"Columns whose names are spelled otherwise than the model’s inputs are taken: {listed(pairs)}.")

    def _say_passed_over(self) -> None:
        """A choice may be of an earlier dataset, which had no column of the input's own name."""
        over = [match for match in self.columns if match.by == "choice" and match.column != match.input and match.input in self.types]
        if over:
            pairs = [f"“{short(match.column or '')}” as “{short(match.input)}”" for match in over]
            self.warnings.append(f"Columns are taken as was chosen, though there are some of the inputs’ own names: {listed(pairs)}.")

    def _say_missing(self, missing: Sequence[str]) -> None:
        for name in missing[:_MOST_PROBLEMS]:
            what = f"{self.dataset} has no column for the model’s input “{short(name)}”"
            self.problems.append(FitProblem("inputs", what, self._columns_hint(name, missing=True)))
        if more := missing[_MOST_PROBLEMS:]:
            what = f"{self.dataset} has no column for {counted(len(more), 'input')} more of the model: {listed(more)}"
            self.problems.append(FitProblem("inputs", what, "Choose a column for each."))

    def _columns_hint(self, name: str, *, missing: bool = False) -> str:
        close = difflib.get_close_matches(name, list(self.types), 1) if len(self.types) <= _MOST_COMPARED and len(name) < 200 else []
        if missing:
            choice = f"{short(name)}={short(close[0]) if close else 'COLUMN'}"
            return f"Choose a column for it; on the command line: --input {shlex.quote(choice) if ' ' in choice or close else choice}"
        return f"Did you mean “{short(close[0])}”?" if close else f"Its columns are {listed(self.types)}."

    def _check_types(self) -> None:
        unlike: list[tuple[ColumnMatch, bool]] = []
        for match in self.columns:
            if match.type and match.column_type and (certain := _unlike(match.type, match.column_type)) is not None:
                unlike.append((match, certain))
        impossible = [match for match, certain in unlike if certain]
        for match in impossible[:_MOST_PROBLEMS]:
            given = f"column “{short(match.column or '')}” is {_a(match.column_type)}"
            what = f"{given}, and the model’s input “{short(match.input)}” is {_a(match.type)}"
            hint = "Choose another column for it, or correct the column’s type where the dataset is registered."
            self.problems.append(FitProblem("inputs", what, hint))
        if more := impossible[_MOST_PROBLEMS:]:
            named = listed([match.column or "" for match in more])
            what = f"{counted(len(more), 'more column')} are text or dates where the model takes a number: {named}"
            self.problems.append(FitProblem("inputs", what, "Choose other columns."))
        doubtful = [f"“{short(m.column or '')}” is {_a(m.column_type)}, not {_a(m.type)}" for m, certain in unlike if not certain]
        if doubtful:
            self.warnings.append(f"Columns of another type than the model’s inputs: {listed(doubtful)}.")


def _unlike(wanted: str, given: str) -> bool | None:
    """None where a column of type `given` serves as an input of type `wanted`; True where it certainly does not, False where it may."""
    if wanted == given or (wanted in (NUMBER, TENSOR) and given in (NUMBER, INTEGER, BOOLEAN)) or (wanted, given) == (INTEGER, BOOLEAN):
        return None
    return wanted in (NUMBER, INTEGER, TENSOR) and given in (TEXT, "date", "datetime")


def _a(type_: str) -> str:
    return {TEXT: "text", INTEGER: "a whole number", NUMBER: "a number", BOOLEAN: "true or false", TENSOR: "a number"}.get(
        type_, f"a {type_}"
    )


def listed(names: Iterable[str]) -> str:
    """The first few, and how many more there are."""
    return formats.listed([short(name) for name in names], _MOST_NAMED)
