"""Values as Python prints them, as JSON: what `str(row)` leaves of dicts, lists, tuples, arrays and NumPy's numbers.

Read here and not by `ast.literal_eval`, which gives up on the first `array(...)`: a value that can't be read should cost its own key alone.
Nothing is executed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, time, timedelta

from services.predictions.columns import MANY_DIGITS, readable
from services.python_parser import literal

_SPACE = re.compile(r"\s*")
_STRING = re.compile(r"""(?s)([bBuUrR]{0,2})('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])")
_COMPLEX = re.compile(r"\([-+.\deE]+[-+][-+.\deE]*(?:nan|inf)?j\)|[-+.\deE]+j\b")
_NAME = re.compile(r"[A-Za-z_][\w.]*")
_NOT_READ = re.compile(r"""(?s)'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[\[({<]|[\])}>]|,|.""")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_NAMED = {"None": "null", "True": "true", "False": "false", "nan": "NaN", "NaN": "NaN", "inf": "Infinity", "NaT": "null", "NA": "null"}
_ABOUT_ARRAYS = {"dtype", "shape", "device", "requires_grad", "grad_fn", "maxlen", "names", "freq", "tz", "name", "fold"}
_NUMBERS_OF_TEXT = {"Decimal"}
_BIT = re.compile(r"np\.|numpy\.")


EXACT = "\ufdd0"
"""What a text begins with that stands for a number which a double doesn't hold, and DuckDB reads as one: no character of any text."""


class _Unreadable(Exception):
    """What stands here is not a literal."""


def as_json(text: str) -> str | None:
    """The JSON of a dict, list, tuple, set or array that Python printed; JSON stays JSON. None for any other text.

    Keys become texts. A dict's value that can't be read, such as `<Tensor at 0x7f>`, is a text as it stands. Numbers that a double doesn't
    hold become texts that begin with EXACT.
    """
    with suppress(ValueError, RecursionError):
        value = json.loads(text, parse_float=_float, object_pairs_hook=_first_of_each)
        return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else None
    try:
        reader = _Reader(text.strip())
        value = reader.value()
        if not reader.at_end() or value[:1] not in ("{", "["):
            return None
    except (_Unreadable, RecursionError, ValueError, IndexError):
        return None
    return value


def _float(spelled: str) -> float | str:
    return EXACT + spelled if re.match(MANY_DIGITS, spelled) else float(spelled)


def _first_of_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Of a key that is there twice the first value, as everywhere here."""
    first: dict[str, object] = {}
    for key, value in pairs:
        first.setdefault(key, value)
    return first


def _text(value: str) -> str:
    return json.dumps(readable(value), ensure_ascii=False)


def _number(spelled: str) -> str:
    """`.5`, `1.` and `+2` as JSON spells them."""
    number = _number_in_json(spelled)
    return _text(EXACT + number) if "." in number and re.match(MANY_DIGITS, number) else number


def _number_in_json(spelled: str) -> str:
    sign, digits = ("-" if spelled[0] == "-" else ""), spelled.lstrip("+-")
    whole, dot, rest = digits.partition(".")
    if not dot:
        whole, exponent, power = digits.partition("e") if "e" in digits else digits.partition("E")
        return sign + (whole.lstrip("0") or "0") + exponent + power
    return f"{sign}{whole.lstrip('0') or '0'}.{rest if rest[:1].isdecimal() else f'0{rest}'}"


class _Reader:
    """Reads one text from its beginning; `value` gives JSON."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def at_end(self) -> bool:
        return self._peek() == ""

    def _peek(self) -> str:
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at
        return self._text[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._at)
        if match:
            self._at = match.end()
        return match

    def value(self) -> str:
        """The value that begins here. Raises _Unreadable."""
        begins = self._peek()
        if _STRING.match(self._text, self._at):
            return self._string()
        if complex_ := self._take(_COMPLEX):
            return _text(complex_[0])
        if number := self._take(_NUMBER):
            return _number(number[0])
        if begins == "{":
            return self._braces()
        if begins == "[":
            return f"[{', '.join(self._items('[', arrays=True))}]"
        if begins == "(":
            return self._tuple()
        if begins == "-" and self._text[self._at + 1 :].startswith("inf"):
            self._at += 4
            return "-Infinity"
        if name := self._take(_NAME):
            return self._named(name[0])
        raise _Unreadable

    def _string(self) -> str:
        string = self._take(_STRING)
        if not string:
            raise _Unreadable
        try:
            value = literal(string[0])
        except SyntaxError as error:
            raise _Unreadable from error
        return _text(value if isinstance(value, str) else string[0])

    def _items(self, bracket: str, *, arrays: bool = False, item: Callable[[], str] | None = None) -> list[str]:
        """What stands between brackets, one after the other; NumPy prints arrays without commas, and of a long one not all: then what comes
        after the gap is in no place that is known."""
        closing = _CLOSING[bracket]
        self._at += 1
        items: list[str] = []
        while self._peek() != closing:
            items.append((item or self.value)())
            if self._peek() == ",":
                self._at += 1
            elif self._peek() != closing and (not arrays or self._text[self._at - 1] not in " \n]"):
                raise _Unreadable
        self._at += 1
        return items

    def _tuple(self) -> str:
        begin = self._at
        items = self._items("(")
        if len(items) == 1 and self._text[begin : self._at - 1].rstrip()[-1:] != ",":
            raise _Unreadable  # just brackets
        return f"[{', '.join(items)}]"

    def _braces(self) -> str:
        begin = self._at
        try:
            return f"{{{', '.join(self._items('{', item=self._entry))}}}"
        except _Unreadable:
            self._at = begin
            return f"[{', '.join(self._items('{'))}]"  # a set

    def _entry(self) -> str:
        """`key: value` of a dict."""
        begin = self._at
        key = self.value()
        spelled = self._text[begin : self._at].strip()
        if self._peek() != ":":
            raise _Unreadable
        self._at += 1
        if not key.startswith('"'):
            key = _text({"true": "True", "false": "False", "null": "None"}.get(key, key if _NUMBER.fullmatch(key) else spelled))
        self._peek()
        begin = self._at
        try:
            value = self.value()
            if self._peek() not in (",", "}"):
                raise _Unreadable
        except (_Unreadable, ValueError, IndexError):
            self._at = begin
            value = self._as_it_stands()
        return f"{key}: {value}"

    def _as_it_stands(self) -> str:
        """Up to the next comma or the end of the dict, not within brackets or quotes."""
        begin, depth = self._at, 0
        while self._at < len(self._text):
            token = self._text[self._at]
            if depth == 0 and token in ",}":
                break
            match = self._take(_NOT_READ)
            depth += (match is not None and match[0] in "[({<") - (match is not None and match[0] in "])}>")
            if depth < 0:
                raise _Unreadable
        if self._at == begin or self._at == len(self._text):
            raise _Unreadable
        return _text(self._text[begin : self._at].strip())

    def _named(self, name: str) -> str:
        """`True`, `np.True_`, `nan`, or a call: `np.float64(0.5)`, `array([1, 2])`, `Point(x=1, y=2)`."""
        if self._text[self._at : self._at + 1] != "(":
            last = name.rpartition(".")[2]
            plain = last.removesuffix("_") if _BIT.match(name) else last
            if plain not in _NAMED:
                raise _Unreadable
            return _NAMED[plain]
        begin = self._at
        positional: list[str] = []
        named: dict[str, str] = {}

        def argument() -> str:
            self._peek()
            start = self._at
            if (word := self._take(_NAME)) and self._peek() == "=":
                self._at += 1
                self._peek()
                if word[0] in _ABOUT_ARRAYS:
                    self._skip_argument()
                else:
                    named[word[0]] = self.value()
            else:
                self._at = start
                if self._text[start : start + 1] == "<":
                    self._skip_argument()
                else:
                    positional.append(self.value())
            return ""

        self._items("(", item=argument)
        return _called(name.rpartition(".")[2], positional, named, self._text[begin : self._at])

    def _skip_argument(self) -> None:
        depth = 0
        while self._at < len(self._text) and (depth or self._text[self._at] not in ",)"):
            match = self._take(_NOT_READ)
            depth += (match is not None and match[0] in "[({<") - (match is not None and match[0] in "])}>")


def _called(name: str, positional: list[str], named: dict[str, str], arguments: str) -> str:
    """What a call makes, by what is known of the name, or by its arguments alone."""
    makers: dict[str, Callable[..., object]] = {"date": date, "datetime": datetime, "time": time, "timedelta": timedelta}
    if name in makers:
        made = makers[name](*map(int, positional), **{key: int(value) for key, value in named.items()}) if _known(named) else None
        if made is None:
            raise _Unreadable
        return _text(str(made))
    if name in _NUMBERS_OF_TEXT and len(positional) == 1:
        spelled = json.loads(positional[0]) if positional[0].startswith('"') else positional[0]
        if _NUMBER.fullmatch(spelled):
            return _number(spelled)
        return {"NaN": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity"}.get(spelled) or _text(spelled)
    if name == "Fraction" and len(positional) == 2:
        return _text("/".join(positional))
    if named and not positional:
        return f"{{{', '.join(f'{_text(key)}: {value}' for key, value in named.items())}}}"
    if len(positional) != 1 or named:
        raise _Unreadable
    if name == "OrderedDict" and positional[0].startswith("[["):
        pairs = json.loads(positional[0])
        return json.dumps({str(key): value for key, value in pairs}, ensure_ascii=False)
    if name == "OrderedDict" and positional[0] == "[]":
        return "{}"
    return positional[0]


def _known(named: dict[str, str]) -> bool:
    return all(value.lstrip("-").isdecimal() for value in named.values())
