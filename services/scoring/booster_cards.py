"""What the files of XGBoost, LightGBM and CatBoost tell: their headers, and the parameters at their ends. Trees are stepped over."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.domain import ROW_KINDS, ItemKind, ModelCard, ModelInput
from services.scoring.onnx_card import HEADED_ROWS

_HEAD, _TAIL = 16 << 20, 1 << 20  # bytes that are read; 30,000 names take less than one million
_MOST_CLASSES = 100_000
_XGBOOST_TYPES = {"int": "integer", "float": "number", "q": "number", "i": "boolean"}


def _ends(path: Path) -> tuple[bytes, bytes]:
    with open(path, "rb") as opened:
        head = opened.read(_HEAD)
        size = opened.seek(0, 2)
        opened.seek(max(0, size - _TAIL))
        return head, opened.read()


# ---- XGBoost ---------------------------------------------------------------------------------------------------------------------


@dataclass
class _Json:
    """JSON, as far as it is needed: `value(at)` is what begins there, and where it ends."""

    content: bytes

    def __post_init__(self) -> None:
        self.text = self.content.decode("utf-8", "surrogateescape")
        self._decoder = json.JSONDecoder()

    def value(self, at: int) -> tuple[Any, int]:
        return self._decoder.raw_decode(self.text, re.compile(r"\s*:?\s*").match(self.text, at).end())  # type: ignore[union-attr]

    def after(self, key: str) -> int:
        """Behind the last such key; -1 where there is none."""
        at = self.text.rfind(f'"{key}"')
        return at if at < 0 else at + len(key) + 2

    def first_keys(self) -> dict[str, Any]:
        """The values of the keys of `learner` that come before the trees."""
        found: dict[str, Any] = {}
        match = re.match(r'\s*\{\s*"learner"\s*:\s*\{', self.text)
        at = match.end() if match else -1
        while match and (key := re.compile(r'\s*,?\s*"(\w+)"\s*:\s*').match(self.text, at)) and key[1] != "gradient_booster":
            found[key[1]], at = self._decoder.raw_decode(self.text, key.end())
        return found


@dataclass
class _Ubjson:
    """The same of UBJSON (ubjson.org, draft 12), with the typed arrays that XGBoost writes."""

    text: bytes

    def value(self, at: int) -> tuple[Any, int]:
        return self._typed(self.text[at : at + 1], at + 1, 0)

    def after(self, key: str) -> int:
        at = self.text.rfind(key.encode())
        return at if at < 0 else at + len(key)

    def first_keys(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        match = re.match(rb"\{[iUIlL]\x00*\x07learner\{", self.text)
        at = match.end() if match else -1
        while match and self.text[at : at + 1] not in (b"}", b""):
            key, at = self._string(at)
            if key == "gradient_booster":
                break
            found[key], at = self.value(at)
        return found

    def _length(self, at: int) -> tuple[int, int]:
        code = self.text[at : at + 1]
        if code not in _INTEGERS:
            raise ValueError("no length")
        value, at = self._typed(code, at + 1, 0)
        if not 0 <= value <= len(self.text):
            raise ValueError("no length")
        return value, at

    def _string(self, at: int) -> tuple[str, int]:
        length, at = self._length(at)
        if at + length > len(self.text):
            raise ValueError("it ends too early")
        return self.text[at : at + length].decode("utf-8", "replace"), at + length

    def _typed(self, code: bytes, at: int, depth: int) -> tuple[Any, int]:
        if depth > 50:
            raise ValueError("too deep")
        if code in _NUMBERS:
            layout = _NUMBERS[code]
            return layout.unpack_from(self.text, at)[0], at + layout.size
        if code in _CONSTANTS:
            return _CONSTANTS[code], at
        if code in (b"S", b"H"):
            return self._string(at)
        if code == b"C":
            return chr(self.text[at]), at + 1
        if code not in (b"[", b"{"):
            raise ValueError("no such type")
        return self._container(code, at, depth)

    def _container(self, code: bytes, at: int, depth: int) -> tuple[Any, int]:
        type_, count, end = b"", None, b"]" if code == b"[" else b"}"
        if self.text[at : at + 1] == b"$":
            type_, at = self.text[at + 1 : at + 2], at + 2
        if self.text[at : at + 1] == b"#":
            count, at = self._length(at + 1)
        values: list[Any] = []
        pairs: dict[str, Any] = {}
        while count is None or len(values) + len(pairs) < count:
            if count is None and self.text[at : at + 1] in (end, b""):
                break
            key = ""
            if code == b"{":
                key, at = self._string(at)
            value, at = self._typed(type_, at, depth + 1) if type_ else self._typed(self.text[at : at + 1], at + 1, depth + 1)
            if code == b"{":
                pairs[key] = value
            else:
                values.append(value)
        return (values if code == b"[" else pairs), at + (1 if count is None else 0)


_NUMBERS = {code.encode(): struct.Struct(f">{layout}") for code, layout in zip("iUIlLdD", "bBhiqfd", strict=True)}
_INTEGERS = (b"i", b"U", b"I", b"l", b"L")
_CONSTANTS = {b"T": True, b"F": False, b"Z": None, b"N": None}


def read_xgboost(path: Path) -> ModelCard:
    """Raises ValueError, LookupError or struct.error where it is damaged, OSError where it can't be read."""
    head, tail = _ends(path)
    reader = _Ubjson if re.match(rb"\{[iUIlL]", head) else _Json
    first, last = reader(head).first_keys(), reader(tail)

    def at_the_end(key: str) -> Any:
        place = last.after(key)
        return last.value(place)[0] if place >= 0 else None

    parameters, objective, version = at_the_end("learner_model_param"), at_the_end("objective"), at_the_end("version")
    parameters = parameters if isinstance(parameters, dict) else {}
    name = str(objective.get("name", "")) if isinstance(objective, dict) else ""
    names, types = (value if isinstance(value := first.get(key), list) else [] for key in ("feature_names", "feature_types"))
    made_with = ".".join(map(str, version)) if isinstance(version, list) and len(version) == 3 else ""
    count, class_count, targets = (_whole(parameters.get(key)) for key in ("num_feature", "num_class", "num_target"))
    task, has_probabilities = _xgboost_task(name, targets or 1)
    class_count = max(2, class_count or 0) if task == "classification" else 0
    types = types if len(types) == len(names) else [""] * len(names)
    return ModelCard(
        "xgboost",
        framework="xgboost",
        framework_version=made_with,
        task=task,
        takes=ROW_KINDS,
        inputs=tuple(ModelInput(str(one), _XGBOOST_TYPES.get(str(type_), "")) for one, type_ in zip(names, types, strict=True)),
        feature_count=count or len(names) or None,
        classes=tuple(map(str, range(class_count))) if class_count <= _MOST_CLASSES else (),
        has_probabilities=has_probabilities,
        requirements=(f"xgboost>={made_with}" if made_with else "xgboost",),
    )


def _whole(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isdecimal() and len(text) < 10 else None


def _xgboost_task(objective: str, targets: int) -> tuple[str, bool | None]:
    if re.match(r"(binary|multi):", objective):
        classes = "classification" if targets == 1 else "multi-output classification"
        return classes, objective not in ("binary:hinge", "binary:logitraw", "multi:softmax")
    if re.match(r"(reg|count|survival):", objective):
        return ("regression" if targets == 1 else "multi-output regression"), False
    return "", False if objective.startswith("rank:") else None


# ---- LightGBM --------------------------------------------------------------------------------------------------------------------


def read_lightgbm(path: Path) -> ModelCard:
    """Raises ValueError where it is damaged, OSError where it can't be read."""
    head, tail = _ends(path)
    header = re.split(rb"\n\s*\n|\nTree=0", head.replace(b"\r\n", b"\n"), maxsplit=1)[0].decode("utf-8", "replace")
    values = dict(line.split("=", 1) for line in header.split("\n") if "=" in line)
    names, infos = values.get("feature_names", "").split(" "), values.get("feature_infos", "").split(" ")
    names = [name for name in names if name]
    objective = values.get("objective", "").split(" ", 1)[0]  # then its options
    class_count = {"binary": 2}.get(objective, _whole(values.get("num_class")) or 0) if objective in _LIGHTGBM_CLASSES else 0
    numbered = all(name == f"Column_{number}" for number, name in enumerate(names))
    inputs = () if numbered else _lightgbm_inputs(names, infos, tail)
    last_feature = _whole(values.get("max_feature_idx"))
    return ModelCard(
        "lightgbm",
        framework="lightgbm",
        task="classification" if class_count else "regression" if objective in _LIGHTGBM_NUMBERS else "",
        takes=HEADED_ROWS if any(one.type == "text" for one in inputs) else ROW_KINDS,
        inputs=inputs,
        feature_count=len(names) or (None if last_feature is None else last_feature + 1),
        classes=tuple(map(str, range(class_count))) if class_count <= _MOST_CLASSES else (),
        has_probabilities=True if class_count else False if objective in _LIGHTGBM_NUMBERS else None,
        requirements=("lightgbm",),
    )


_LIGHTGBM_CLASSES = ("binary", "multiclass", "multiclassova")
_LIGHTGBM_NUMBERS = (
    "regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie", "cross_entropy",
    "cross_entropy_lambda",
)  # fmt: skip


def _lightgbm_inputs(names: list[str], infos: list[str], tail: bytes) -> tuple[ModelInput, ...]:
    """Columns of pandas' type category are those whose values are listed; what they are, the last line says."""
    place = tail.rfind(b"\npandas_categorical:")
    categories: Any = None
    if place >= 0:
        line = tail[place:].split(b":", 1)[1].strip()
        try:
            categories = json.loads(line)
        except (ValueError, RecursionError):
            categories = None
    infos = infos if len(infos) == len(names) else [""] * len(names)
    listed = [number for number, info in enumerate(infos) if re.fullmatch(r"-?\d+(:-?\d+)+", info)]
    types = ["number" if info.startswith("[") else "" for info in infos]
    if isinstance(categories, list) and len(categories) == len(listed):
        for number, values in zip(listed, categories, strict=True):
            if isinstance(values, list) and all(isinstance(value, str) for value in values):
                types[number] = "text"
    return tuple(ModelInput(name, type_) for name, type_ in zip(names, types, strict=True))


# ---- CatBoost --------------------------------------------------------------------------------------------------------------------


def read_catboost(path: Path) -> ModelCard:
    """Of CatBoost only its own notes in JSON are read: what its columns are says the loaded model. Raises OSError."""
    head, _ = _ends(path)
    version = re.search(rb"(?:CatBoost release |Branch: tags/v)(\d+(?:\.\d+)+)", head)
    loss = re.search(rb'"loss_function":\{"type":"(\w+)"', head)
    labels = re.search(rb'\{"classes_count":\d+,"class_names":(\[[^\]]*\])', head)
    classes: tuple[str, ...] = ()
    if labels:
        try:
            classes = tuple(map(str, json.loads(labels[1])))
        except (ValueError, RecursionError):
            classes = ()
    objective = loss[1].decode() if loss else ""
    is_class = objective in ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll")
    is_number = objective in ("RMSE", "MAE", "Quantile", "Poisson", "MAPE", "Huber", "Expectile", "Tweedie", "LogLinQuantile", "Lq")
    made_with = version[1].decode() if version else ""
    return ModelCard(
        "catboost",
        framework="catboost",
        framework_version=made_with,
        task="classification" if is_class else "regression" if is_number else "",
        takes=ROW_KINDS if (is_class or is_number) else (ItemKind.TABLE_ROW,),
        classes=classes if is_class else (),
        has_probabilities=True if is_class else False if is_number else None,
        requirements=(f"catboost>={made_with}" if made_with else "catboost",),
    )
