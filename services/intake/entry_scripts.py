"""Entry scripts: the check that never executes them, and those on offer, built in and uploaded.

An uploaded one lies in a folder of the home that is named by its SHA-256.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
import traceback
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from services import PROJECT_ROOT, formats
from services.domain import EntryScript
from services.errors import EntryScriptError, IntakeError, StudioError, WorkspaceUnavailable, os_errors_as
from services.file_names import safe_relative_path, short
from services.python_parser import parse
from services.storage.atomic import write_atomically

BUILT_IN = PROJECT_ROOT / "batch_scripts"
JOBLIB_SCRIPT = BUILT_IN / "batch_scoring_script.py"
"""Scores files with a model that joblib loads."""
_LARGEST_SCRIPT = 1 << 20


def sources_beside(script: Path) -> list[Path]:
    """What a script may import from beside itself: the Python files there and the packages below. Not all of its folder, which may be
    somebody's home with secrets."""
    found = list(script.parent.glob("*.py"))
    found += [path for package in script.parent.glob("*/__init__.py") for path in package.parent.rglob("*.py")]
    return [path for path in found if path.is_file() and path.stat().st_size < _LARGEST_SCRIPT and not path.name.startswith(".")]


class EntryScripts:
    """The scripts of one home. `approved` says of a SHA-256 whether a run may execute what has it."""

    def __init__(self, folder: Path, approved: Callable[[str], bool]) -> None:
        self._folder = folder
        self._approved = approved

    def all(self) -> list[EntryScript]:
        built_in = sorted(BUILT_IN.glob("[!_]*.py"), key=lambda path: (path != JOBLIB_SCRIPT, path.name))
        uploaded = sorted(self._folder.glob("*/*.py"), key=lambda path: path.stat().st_mtime, reverse=True)
        return [self._script(path, "built-in") for path in built_in] + [self._script(path, "uploaded") for path in uploaded]

    def _script(self, path: Path, origin: str) -> EntryScript:
        source = path.read_bytes()
        try:
            docstring = check_entry_script(source, path.name)
        except StudioError as error:
            docstring = error.message
        sha256 = hashlib.sha256(source).hexdigest()
        return EntryScript(path.name, str(path), origin, sha256, origin == "built-in" or self._approved(sha256), docstring)

    def add(self, name: str, content: bytes) -> EntryScript:
        """Keep an uploaded script. Raises IntakeError for its name, EntryScriptError for what is in it."""
        safe = safe_relative_path(name)
        if len(safe.parts) != 1 or safe.suffix != ".py":
            raise IntakeError(f"“{name}” is not a Python script.", "Choose a file whose name ends in .py.")
        check_entry_script(content, safe.name)
        folder = self._folder / hashlib.sha256(content).hexdigest()
        with os_errors_as(WorkspaceUnavailable, f"The script could not be kept in {folder}"):
            folder.mkdir(exist_ok=True)
            write_atomically(folder / safe.name, content)
        return self._script(folder / safe.name, "uploaded")


@lru_cache(64)  # a page asks of each script whenever it is drawn
def check_entry_script(source: bytes, name: str) -> str:
    """The docstring of a scoring script that parses and has a `run` which can be called with a mini-batch. It is not executed. Raises
    EntryScriptError with the line and what to do."""
    tree = _parsed(source, name)
    bindings = list(_bindings_of_run(tree))
    hint = "Define run(mini_batch) at the top level: it gets a list of file paths and returns one element for each."
    if not bindings:
        raise EntryScriptError(f"{short(name)} has no function run.", hint)
    run = bindings[-1]
    if isinstance(run, ast.AsyncFunctionDef):
        raise EntryScriptError(f"{short(name)}, line {run.lineno}: run is an async function; nothing would await it.", hint)
    if isinstance(run, ast.FunctionDef) and not run.decorator_list:
        takes = len(run.args.posonlyargs) + len(run.args.args)
        needs = takes - len(run.args.defaults)
        if needs > 2 or not (takes or run.args.vararg) or None in run.args.kw_defaults:
            raise EntryScriptError(f"{short(name)}, line {run.lineno}: run can't be called with a mini-batch alone.", hint)
    return ast.get_docstring(tree) or ""


def _parsed(source: bytes, name: str) -> ast.Module:
    if not source.strip():
        raise EntryScriptError(f"{short(name)} is empty.", "Choose the script that has init() and run(mini_batch).")
    if len(source) > _LARGEST_SCRIPT:
        size = formats.size(len(source))
        raise EntryScriptError(f"{short(name)} is {size}: no script.", "Keep what is not code in files beside the script.")
    if b"\0" in source:
        raise EntryScriptError(f"{short(name)} is not a Python script: it contains NUL bytes.", "Save it as UTF-8 text.")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        text = source.decode(encoding)
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        raise EntryScriptError(f"{short(name)}, line {line}: these bytes are not {error.encoding} text.", "Save it as UTF-8.") from error
    except (SyntaxError, LookupError, UnicodeError) as error:
        raise EntryScriptError(f"{short(name)} can't be decoded: {error}.", "Save it as UTF-8.") from error
    try:
        tree = parse(text)
    except SyntaxError as error:
        shown = "".join(traceback.format_exception_only(error))
        raise EntryScriptError(f"{short(name)}, line {error.lineno}: {error.msg}.", "Fix the script.", traceback=shown) from error
    except (RecursionError, MemoryError, ValueError, OverflowError) as error:
        raise EntryScriptError(f"{short(name)} is too deeply nested to be a script.", "Fix the script.") from error
    return tree


def _bindings_of_run(tree: ast.Module) -> Iterator[ast.AST]:
    """What gives the name `run` a value when the module's top level is executed, in order. `import *` may, so it counts."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name == "run":
                yield node
        elif isinstance(node, ast.Name):
            if node.id == "run" and isinstance(node.ctx, ast.Store):
                yield node
        elif isinstance(node, ast.alias):
            if (node.asname or node.name.split(".")[0]) in ("run", "*"):
                yield node
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            pending += reversed(list(ast.iter_child_nodes(node)))
