"""Names that come in from outside: of models, datasets and environments, of uploads and archive members."""

from __future__ import annotations

import re
import sys
from pathlib import PurePosixPath, PureWindowsPath

from services.errors import IntakeError, SettingsError
from services.storage.file_tree import short

# They can't be folders there, and a home may be copied to such a machine.
_RESERVED_BY_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def check_name(field: str, name: str) -> str:
    """`name` as it may be given to a model, dataset or environment; Azure ML's rule (azureml-core,
    `_model_management._util.model_name_validation`).

    Raises SettingsError on `field`.
    """
    if not re.fullmatch(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,253}[a-zA-Z0-9_-])?", name) or _RESERVED_BY_WINDOWS.fullmatch(name):
        raise SettingsError(
            field,
            f"“{short(name)}” is no name that Azure ML takes" if name else "a name is needed",
            "Use letters, digits, - _ and . only, begin with a letter or digit, don't end with a dot, 255 characters at most.",
        )
    return name


def safe_relative_path(given: str) -> PurePosixPath:
    """The name of an upload or of an archive's member as a path that stays inside the folder it is put in.

    `/` separates folders. A backslash does not: on Linux and macOS it is a letter like any other, and what Windows makes of it is
    refused there; only `..` and absolute names are refused in either reading. Raises IntakeError.
    """

    def refuse(why: str) -> IntakeError:
        return IntakeError(f"The file name “{short(given)}” {why}, so nothing was taken.", "Rename the file and try again.")

    if "\0" in given:
        raise refuse("holds a NUL character")
    if given.startswith(("/", "\\")) or re.match(r"[a-zA-Z]:($|[/\\])", given):
        raise refuse("is an absolute path")
    if ".." in re.split(r"[/\\]", given):
        raise refuse("leads out of its folder by “..”")
    path = PurePosixPath(given)
    if not path.parts:
        raise refuse("is empty")
    for part in path.parts:
        if len(part.encode("utf-8", "surrogatepass")) > 255:
            raise refuse("is longer than 255 bytes")
        if sys.platform == "win32" and (set(part) & set('<>:"|?*\\') or PureWindowsPath(part).is_reserved()):
            raise refuse("can't be written on Windows")
    return path
