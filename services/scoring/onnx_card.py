"""What an ONNX file tells: its fields are read (onnx.proto3), weights are stepped over, nothing is executed. onnxruntime is not needed."""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from services.domain import ROW_KINDS, ItemKind, ModelCard, ModelInput
from services.python_parser import literal

HEADED_ROWS = (ItemKind.TABLE_ROW, ItemKind.HEADED_ROW_FILE)
"""Where texts are among the columns: a file of one row of numbers has none."""
_TYPES = {1: "number", 10: "number", 11: "number", 16: "number", 9: "boolean", 8: "text"} | dict.fromkeys(
    (2, 3, 4, 5, 6, 7, 12, 13), "integer"
)
"""TensorProto.DataType."""
_MOST_FIELDS = 3_000_000
_MOST_CLASSES = 100_000
_LONGEST_TEXT = 1 << 22  # bytes
_LABEL_KEYS = ("labels", "classes", "class_names", "names", "id2label", "categories")
_IMAGE_KEYS = {"size": "size", "imgsz": "size", "image_size": "size", "layout": "layout", "color": "color", "scale": "scale",
               "mean": "mean", "std": "std"}  # fmt: skip
_Value = int | tuple[int, int]  # a number, or from which byte to which


class _Fields:
    """The fields of protobuf messages in a file that is mapped into memory."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._left = _MOST_FIELDS

    def of(self, span: tuple[int, int]) -> Iterator[tuple[int, _Value]]:
        """Each field's number and its value, of the message in these bytes. Raises ValueError where they are none."""
        at, end = span
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise ValueError("too many fields")
            tag, at = self._number(at, end)
            kind = tag & 7
            value: _Value
            if kind == 0:
                value, at = self._number(at, end)
            elif kind == 2:
                length, at = self._number(at, end)
                value = (at, at + length)
                at += length
            elif kind in (1, 5):
                value = (at, at + (8 if kind == 1 else 4))
                at = value[1]
            else:
                raise ValueError("no such field")
            if at > end:
                raise ValueError("it ends too early")
            yield tag >> 3, value

    def _number(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift < 70:
            byte = self._content[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
            shift += 7
        raise ValueError("no number")

    def numbers(self, span: tuple[int, int]) -> list[int]:
        """Packed signed numbers."""
        at, found = span[0], list[int]()
        while at < span[1] and len(found) < _MOST_CLASSES:
            value, at = self._number(at, span[1])
            found.append(_signed(value))
        return found

    def text(self, value: _Value) -> str:
        if isinstance(value, int) or value[1] - value[0] > _LONGEST_TEXT:
            return ""
        return self._content[value[0] : value[1]].decode("utf-8", "replace")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


@dataclass
class _Graph:
    """What of a graph is needed. A shape has None for what is open; of an output that is no tensor it is None itself."""

    inputs: list[tuple[str, int, tuple[int | None, ...]]] = field(default_factory=list)
    outputs: list[tuple[str, int, tuple[int | None, ...] | None]] = field(default_factory=list)
    initializers: set[str] = field(default_factory=set)
    operators: set[str] = field(default_factory=set)
    made_by: dict[str, str] = field(default_factory=dict)  # the operator of each output of a node
    classes: set[tuple[str, ...]] = field(default_factory=set)


def read_onnx(path: Path) -> ModelCard:
    """Raises ValueError where it is damaged, OSError where it can't be read."""
    with open(path, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        fields = _Fields(content)
        producer = version = ""
        metadata: dict[str, str] = {}
        graph = _Graph()
        for number, value in fields.of((0, len(content))):
            if number == 2:
                producer = fields.text(value)[:100]
            elif number == 3:
                version = fields.text(value)[:100]
            elif number == 14 and isinstance(value, tuple):
                pair = dict(fields.of(value))
                metadata[fields.text(pair.get(1, (0, 0)))[:200]] = fields.text(pair.get(2, (0, 0)))
            elif number == 7 and isinstance(value, tuple):
                _read_graph(fields, value, graph)
    return _card(graph, producer, version, metadata)


def _read_graph(fields: _Fields, span: tuple[int, int], graph: _Graph) -> None:
    for number, value in fields.of(span):
        if isinstance(value, int):
            continue
        if number == 1:
            _read_node(fields, value, graph)
        elif number == 5:
            graph.initializers |= {fields.text(text) for part, text in fields.of(value) if part == 8}
        elif number == 11:
            name, type_, shape = _value_info(fields, value)
            graph.inputs.append((name, type_, shape or ()))
        elif number == 12:
            graph.outputs.append(_value_info(fields, value))


def _read_node(fields: _Fields, span: tuple[int, int], graph: _Graph) -> None:
    operator, outputs, attributes = "", [], []
    for number, value in fields.of(span):
        if number == 2:
            outputs.append(fields.text(value))
        elif number == 4:
            operator = fields.text(value)
        elif number == 5 and isinstance(value, tuple):
            attributes.append(value)
    graph.operators.add(operator)
    graph.made_by |= dict.fromkeys(outputs, operator)
    if not (operator.endswith("Classifier") or operator == "ZipMap"):
        return
    for attribute in attributes:
        name, values = "", list[str]()
        for number, value in fields.of(attribute):
            if number == 1:
                name = fields.text(value)
            elif number == 8 and isinstance(value, int):
                values.append(str(_signed(value)))
            elif number == 8 and isinstance(value, tuple):
                values += map(str, fields.numbers(value))
            elif number == 9:
                values.append(fields.text(value))
            if len(values) > _MOST_CLASSES:
                return
        if name.startswith("classlabels_") and values:
            graph.classes.add(tuple(values))


def _value_info(fields: _Fields, span: tuple[int, int]) -> tuple[str, int, tuple[int | None, ...] | None]:
    """A name, an element type, a shape; 0 and None for what is no tensor."""
    name, type_, shape = "", 0, None
    for number, value in fields.of(span):
        if number == 1:
            name = fields.text(value)
        elif number == 2 and isinstance(value, tuple):
            for kind, tensor in fields.of(value):
                if kind == 1 and isinstance(tensor, tuple):
                    parts = dict(fields.of(tensor))
                    element, dims = parts.get(1, 0), parts.get(2)
                    type_ = element if isinstance(element, int) else 0
                    shape = tuple(_size(fields, dim) for part, dim in fields.of(dims) if part == 1) if isinstance(dims, tuple) else ()
    return name, type_, shape


def _size(fields: _Fields, dim: _Value) -> int | None:
    size = dict(fields.of(dim)).get(1) if isinstance(dim, tuple) else None
    return size if isinstance(size, int) and 0 < size < 1 << 40 else None


def _card(graph: _Graph, producer: str, version: str, metadata: dict[str, str]) -> ModelCard:
    inputs = [one for one in graph.inputs if one[0] not in graph.initializers]
    labels = labels_in(metadata)
    takes, count, named = _taken(inputs)
    classes, task, probabilities = _predicted(graph, labels, ItemKind.IMAGE in takes)
    return ModelCard(
        "onnx",
        framework=producer or "onnx",
        framework_version=version,
        task=task,
        takes=takes,
        inputs=tuple(ModelInput(name, _TYPES.get(type_, "") if named else "tensor", shape) for name, type_, shape in inputs),
        feature_count=count,
        classes=classes,
        has_probabilities=probabilities,
        requirements=("onnxruntime",),
        scorer_defaults=image_defaults(metadata, inputs[0][2]) if takes == (ItemKind.IMAGE,) else {},
    )


def _taken(inputs: list[tuple[str, int, tuple[int | None, ...]]]) -> tuple[tuple[ItemKind, ...], int | None, bool]:
    """The kinds of items, the number of columns, and whether the inputs are columns by their names."""
    if not inputs:
        return (), None, False
    if len(inputs) > 1:
        flat = all(len(shape) <= 2 for _, _, shape in inputs)
        count = sum((shape[1] or 1) if len(shape) > 1 else 1 for _, _, shape in inputs)
        rows = HEADED_ROWS if any(type_ == 8 for _, type_, _ in inputs) else ROW_KINDS
        return (rows, count, True) if flat else ((), None, False)
    _, type_, shape = inputs[0]
    if type_ == 8 and (len(shape) < 2 or shape[1] in (1, None)):
        return (ItemKind.TEXT, ItemKind.TABLE_ROW), 1, True
    if len(shape) == 4:
        return (ItemKind.IMAGE,), None, False
    return (ROW_KINDS, shape[1] if len(shape) == 2 else 1, False) if len(shape) in (1, 2) else ((), None, False)


def _predicted(graph: _Graph, labels: tuple[str, ...], image: bool) -> tuple[tuple[str, ...], str, bool | None]:
    """Classes, task, and whether there are probabilities; of what the graph doesn't tell nothing."""
    if len(graph.classes) == 1 and len(graph.outputs) >= 2:
        return next(iter(graph.classes)), "classification", True
    if graph.classes:
        return (), "classification", None
    if graph.outputs and (graph.made_by.get(graph.outputs[0][0]) == "Softmax"):
        shape = graph.outputs[0][2] or ()
        width = shape[-1] if len(shape) == 2 else None
        numbered = tuple(map(str, range(width))) if width and width <= _MOST_CLASSES else ()
        return labels or numbered, "classification", True
    if labels and image:
        return labels, "classification", None
    if len(graph.outputs) == 1 and any(operator.endswith("Regressor") for operator in graph.operators):
        return (), "regression", False
    return (), "", None


# ---- what metadata tells ---------------------------------------------------------------------------------------------------------


def labels_in(metadata: dict[str, str]) -> tuple[str, ...]:
    """The names of the classes: a list, or numbers and names, as JSON, as Python prints it, or with commas between them."""
    texts = {name.lower(): text for name, text in metadata.items()}
    for text in filter(None, (texts.get(key, "") for key in _LABEL_KEYS)):
        value: object
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            try:
                value = literal(text) if len(text) < 1_000_000 else None
            except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
                value = [one.strip() for one in re.split(r"[,\n]", text)]
        if isinstance(value, dict):
            value = [value[key] for key in sorted(value, key=lambda key: int(key) if str(key).isdecimal() else 0)]
        if isinstance(value, list | tuple) and 0 < len(value) <= _MOST_CLASSES:
            return tuple(str(one)[:1000] for one in value)
    return ()


def image_defaults(metadata: dict[str, str], shape: tuple[int | None, ...]) -> dict[str, str]:
    """Arguments of score_images.py that the metadata and the shape of the input tell."""
    defaults: dict[str, str] = {}
    for name, value in metadata.items():
        argument = _IMAGE_KEYS.get(name.lower())
        numbers = re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?", value[:1000], re.IGNORECASE)
        if argument == "size" and numbers:  # one number, width x height, or height and width
            sides = (numbers * 2)[:2]
            defaults["size"] = "x".join(sides if "x" in value else sides[::-1])
        elif argument in ("mean", "std"):
            defaults[argument] = ",".join(numbers)
        elif argument and argument != "size":
            defaults[argument] = value[:100]
    if len(shape) == 4 and (layout := "NCHW" if shape[1] in (1, 3, 4) else "NHWC" if shape[3] in (1, 3, 4) else ""):
        channels, height, width = (shape[1], shape[2], shape[3]) if layout == "NCHW" else (shape[3], shape[1], shape[2])
        defaults["layout"] = layout
        if channels in (1, 3):
            defaults.setdefault("color", "L" if channels == 1 else "RGB")
        if height and width:
            defaults["size"] = f"{width}x{height}"
    return defaults
