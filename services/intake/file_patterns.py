"""The files of a folder that match a pattern, where they lie."""

from __future__ import annotations

import fnmatch
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from services.domain import DatasetFile
from services.errors import IntakeError, SettingsError
from services.file_names import short
from services.formats import counted
from services.storage.file_tree import file_stat, may_read, stat_of, walk


def collect_files(root: Path, glob: str) -> Iterator[DatasetFile]:
    """The files of folder `root` whose relative path matches `glob`, sorted by it; or `root` itself where it is one file.

    In a pattern `*`, `?` and `[...]` stay within one name and `**` stands for any number of folders, none included: `*.csv` are the files
    at the top, `**/*.csv` those anywhere, `2026/**` all below one folder. Case counts. Links to files are followed, links to folders
    are not, and what file browsers and Jupyter leave behind is no file of the dataset.

    While it is read, raises NotFound where there is no `root`, SettingsError on `glob` for a pattern that is none, and IntakeError for an
    empty folder, for one without a match, and for a file or folder that can't be read.
    """
    matches = _pattern(glob).fullmatch
    info = stat_of(root)
    if stat.S_ISREG(info.st_mode):
        if not may_read(root):
            raise IntakeError(f"{root} can't be read: permission denied.", "Allow reading it.")
        yield DatasetFile(root.name, info.st_size, info.st_mtime_ns)
        return
    seen = matched = 0
    for relative, entry in walk(root, junk=False):
        if not matches(relative):
            seen += 1
        elif file := file_stat(entry, relative):
            matched += 1
            yield DatasetFile(relative, file.st_size, file.st_mtime_ns)
    if not matched:
        holds = f"holds {counted(seen, 'file')}, none of which matches {glob}" if seen else "holds no files"
        raise IntakeError(f"The folder {root} {holds}.", "Choose another folder or pattern; **/*.csv means CSV files at any depth.")


def _pattern(glob: str) -> re.Pattern[str]:
    """`glob` as a regular expression for relative paths."""
    segments = [segment for segment in glob.split("/") if segment != "."]
    if not segments or not glob or glob.startswith("/") or ".." in segments:
        raise SettingsError("glob", f"“{short(glob)}” is not a pattern of files in the folder", "Write for example ** or *.csv.")
    *folders, last = segments
    if last in ("**", ""):
        folders, last = [*folders, "**"], "*"
    return re.compile("".join("(?:[^/]+/)*" if name == "**" else _name(name) + "/" for name in folders) + _name(last))


def _name(pattern: str) -> str:
    """The pattern of one name as a regular expression. A `*` never takes back what it took, so no pattern runs for ever."""
    parts = [""]
    for token in re.findall(r"\[!?\]?[^\]]*\]|.", pattern, re.DOTALL):
        if token == "*":
            parts.append("")
        elif token == "?":
            parts[-1] += "[^/]"
        elif len(token) == 1:
            parts[-1] += re.escape(token)
        else:
            parts[-1] += "(?!/)" + fnmatch.translate(token).removeprefix("(?s:")[: -len(r")\Z")]
    if len(parts) == 1:
        return parts[0]
    first, *middle, last = parts
    return first + "".join(f"(?>[^/]*?{part})" for part in middle) + "[^/]*" + last
