"""Values of a run as Python source: whatever comes from outside is a literal, by `repr`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from services.handover.secrets import Hidden
from services.handover.sources import Sources

SECRET = '''

def secret(variable, meaning):
    """A value that was left out of this file."""
    if variable not in os.environ:
        raise SystemExit("Set the environment variable " + variable + ": it is " + meaning + " of the run, and was left out of this file.")
    return os.environ[variable]
'''
"""The function that `written` calls for what is left out."""


def plain_file_name(name: str) -> str:
    """A file's name in a comment: one that could end the comment is not repeated."""
    return name if name.isascii() and name.replace(".", "").replace("-", "").replace("_", "").isalnum() else "this_file.py"


def assigned(name: str, value: object) -> str:
    """`NAME = value`, as a line."""
    return f"{name} = {written(value)}\n"


def written(value: object, indent: int = 0) -> str:
    """A value as Python reads it, whatever is in it. Short ones are on one line."""
    inner, outer = "    " * (indent + 1), "    " * indent
    if isinstance(value, Hidden):
        read = f"secret({value.variable!r}, {value.shown!r})"
        return f"{value.before!r} + {read}" if value.before else read
    if isinstance(value, Mapping):
        items: Iterable[str] = (f"{name!r}: {written(each, indent + 1)}" for name, each in value.items())
        marks = "{}"
    elif isinstance(value, list):
        items, marks = (written(each, indent + 1) for each in value), "[]"
    else:
        return repr(value)
    texts = list(items)
    line = marks[0] + ", ".join(texts) + marks[1]
    if len(line) + len(outer) < 100 and "\n" not in line:
        return line
    return marks[0] + "\n" + "".join(f"{inner}{each},\n" for each in texts) + outer + marks[1]


def source(sources: Sources) -> str:
    """`SOURCE`, the content of each file by its path; the script first."""
    parts = ["\n\nSOURCE = {\n"]
    for path, content in sorted(sources.files.items(), key=lambda item: item[0] != sources.entry_script):
        try:
            lines: list[Any] = content.decode("utf-8").splitlines(keepends=True)
        except UnicodeDecodeError:
            lines = content.splitlines(keepends=True)
        literals = "".join(f"        {line!r}\n" for line in lines) or "        ''\n"
        parts.append(f"    {path!r}: (\n{literals}    ),\n")
    return "".join(parts) + "}\n"
