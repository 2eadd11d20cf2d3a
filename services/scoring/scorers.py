"""The built-in entry scripts that score without a line of code: what each takes, and a person's choices as its arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from services.domain import ItemKind
from services.errors import SettingsError
from services.intake.entry_scripts import BUILT_IN, JOBLIB_SCRIPT

DATAFRAME_HEADER = ("--append_row_dataframe_header", "True")
"""The column names of the rows that run() returns go into the output: an argument of ParallelRunStep's."""
PROBABILITIES = ("prediction", "all", "off")
IMAGE_VALUES = ("size", "layout", "color", "scale", "mean", "std", "labels")


@dataclass(frozen=True)
class Scorer:
    """A built-in script. `takes` are the items it scores; `values` the names of arguments of its own."""

    name: str
    title: str
    takes: tuple[ItemKind, ...]
    values: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return BUILT_IN / f"{self.name}.py"

    @property
    def tabular(self) -> bool:
        """Whether its run() gets a DataFrame, and not paths."""
        return ItemKind.TABLE_ROW in self.takes

    @property
    def has_columns(self) -> bool:
        """Whether its items have columns, so that inputs can be chosen."""
        return self.name in ("score_tables", "score_rows")

    @property
    def returns_dataframe(self) -> bool:
        return self.path != JOBLIB_SCRIPT

    def __str__(self) -> str:
        return self.name


SCORERS = {
    scorer.name: scorer
    for scorer in (
        Scorer("batch_scoring_script", "Files of one row of numbers, by a joblib model", (ItemKind.ROW_FILE,)),
        Scorer("score_tables", "Rows of a table", (ItemKind.TABLE_ROW,), ("by-order",)),
        Scorer(
            "score_rows",
            "Files of one row, with a header or without",
            (ItemKind.ROW_FILE, ItemKind.HEADED_ROW_FILE),
            ("header", "encoding", "by-order"),
        ),
        Scorer("score_images", "Images", (ItemKind.IMAGE,), IMAGE_VALUES),
        Scorer("score_texts", "Texts", (ItemKind.TEXT,), ("encoding",)),
    )
}
"""The scorers by name, in the order in which they are offered."""


def scorer_at(path: str | Path) -> Scorer | None:
    """The scorer whose script is at this path; None for any other script."""
    return next((scorer for scorer in SCORERS.values() if scorer.path == Path(path)), None)


@dataclass(frozen=True)
class ScorerOptions:
    """What a person chose for a scorer. `scorer` is its name, "" for the one that fits; `inputs` are columns by the model's inputs, `keep`
    the columns to have beside the prediction; `probabilities` one of `PROBABILITIES`, `top` how many classes, each None where nothing was
    chosen; `values` are other arguments of the scorer, without their dashes: `{"size": "224x224"}`. Raises SettingsError."""

    scorer: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    probabilities: str | None = None
    top: int | None = None
    values: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.scorer and self.scorer not in SCORERS:
            text = f"there is no built-in scorer called “{self.scorer}”"
            raise SettingsError("scorer", text, f"The scorers are {', '.join(SCORERS)}.")
        if self.probabilities not in (None, *PROBABILITIES):
            text = f"“{self.probabilities}” is not a choice of probabilities"
            raise SettingsError("probabilities", text, f"Choose one of {', '.join(PROBABILITIES)}.")
        if self.top is not None and self.top < 1:
            raise SettingsError("top", f"{self.top} is not a number of classes", "Give 1 or more, or leave it out.")
        if self.top is not None and self.probabilities == "all":
            text = f"the top {self.top} and the probabilities of all classes exclude each other"
            raise SettingsError("top", text, "Leave one of them out.")

    def over(self, preset: ScorerOptions) -> ScorerOptions:
        """These choices, and those of a preset where nothing was chosen."""
        chosen = {item.name: value for item in fields(self) if (value := getattr(self, item.name)) not in ("", (), {}, None)}
        if self.top is not None and self.probabilities is None and preset.probabilities == "all":  # they exclude each other
            preset = replace(preset, probabilities=None)
        if self.probabilities == "all" and self.top is None:
            preset = replace(preset, top=None)
        return replace(preset, **({"scorer": ""} | chosen))

    @classmethod
    def from_arguments(cls, scorer: Scorer, arguments: Sequence[str], inputs: Sequence[str] = ()) -> tuple[ScorerOptions, tuple[str, ...]]:
        """The choices that `arguments()` made the beginning of these arguments of, and the rest. `inputs` are the model's, where known: an
        input may be called a=b. Raises SettingsError, or ValueError where that is not how they begin."""
        if not scorer.returns_dataframe:
            return cls(), tuple(arguments)
        ends = [place for place in range(len(arguments)) if tuple(arguments[place : place + 2]) == DATAFRAME_HEADER]
        if not ends:
            raise ValueError(f"{scorer} is asked to give no header")
        own, rest = tuple(arguments[: ends[0]]), tuple(arguments[ends[0] + 2 :])
        columns: dict[str, str] = {}
        kept: list[str] = []
        words: dict[str, str] = {}
        pending = iter(own)
        for argument in pending:
            name, equals, value = argument.removeprefix("--").partition("=")
            value = "" if name == "by-order" else value if equals else next(pending, "")
            if name == "input":
                chosen, column = split_input(value, inputs)
                columns[chosen] = column
            elif name == "keep":
                kept.append(value)
            else:
                words[name] = value
        top, probabilities = words.pop("top", None), words.pop("probabilities", None)
        options = cls(scorer.name, columns, tuple(kept), probabilities, None if top is None else int(top), words)
        if options.arguments(scorer) != (*own, *DATAFRAME_HEADER):
            raise ValueError(f"not how the choices of {scorer} are written")
        return options, rest

    def arguments(self, scorer: Scorer) -> tuple[str, ...]:
        """The arguments of a run by this scorer. The joblib script takes none of these choices."""
        if not scorer.returns_dataframe:
            return ()
        words: list[str] = []
        for name, column in self.inputs.items() if scorer.has_columns else ():
            words += _argument("input", f"{name}={column}")
        for column in self.keep if scorer.tabular else ():
            words += _argument("keep", column)
        if self.top is not None:
            words += _argument("top", str(self.top))
        if self.probabilities not in (None, PROBABILITIES[0]):
            words += _argument("probabilities", str(self.probabilities))
        for name, value in self.values.items():
            if name in scorer.values:
                words += ["--by-order"] if name == "by-order" else _argument(name, value)
        return (*words, *DATAFRAME_HEADER)


NO_CHOICES = ScorerOptions()


def split_input(text: str, names: Sequence[str]) -> tuple[str, str]:
    """Input and column of `--input`, as the scorers split them: by the longest name of an input that it begins with, else by the first
    `=`."""
    name = max((name for name in names if text.startswith(f"{name}=")), key=len, default=text.partition("=")[0])
    return name, text[len(name) + 1 :]


def _argument(name: str, value: str) -> Sequence[str]:
    """An argument in two words, or in one where argparse would take the second for an argument of its own, or a service lose it."""
    return (f"--{name}={value}",) if not value.strip() or value.startswith("-") else (f"--{name}", value)
