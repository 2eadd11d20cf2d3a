"""Rules for names: of what is registered, of files that come in from outside, of files that are written."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath, PureWindowsPath

from services.errors import IntakeError, SettingsError

# They can't be folders there, and a home may be copied to such a machine.
_RESERVED_BY_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_JUNK = {
    ".ds_store", ".spotlight-v100", ".trashes", ".fseventsd", ".temporaryitems", ".appledouble", "__macosx", ".documentrevisions-v100",
    ".volumeicon.icns", ".apdisk", ".appledb", ".appledesktop", ".lsoverride", ".com.apple.timemachine.donotpresent", "icon\r",
    "network trash folder", "temporary items",  # macOS
    "thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin",
    "system volume information",  # Windows
    ".directory", "lost+found",  # KDE, Linux
    "@eadir", "#recycle", "@recycle", ".@__thumb", ".ipynb_checkpoints",  # Synology, QNAP, Jupyter
}  # fmt: skip
_JUNK_PATTERNS = {
    "._*": re.compile(r"\._.+"),
    "~$*": re.compile(r"~\$.*"),
    ".~lock.*#": re.compile(r"\.~lock\..*#"),
    ".Trash-*": re.compile(r"\.Trash-\d+"),
    ".nfs*": re.compile(r"\.nfs[0-9a-f]{8,}"),  # deleted while it is open, as .fuse_hidden
    ".fuse_hidden*": re.compile(r"\.fuse_hidden[0-9a-f]{8,}"),
}
_DEEPEST = 100  # folders in each other
_REFUSED_BY_AZURE = '~ " # % & * : < > ? / \\ { | }'


def short(name: str) -> str:
    """A name from outside, short enough for a message."""
    return name if len(name) <= 120 else f"{name[:80]}…{name[-30:]}"


def quoted(names: Sequence[str], most: int = 5) -> str:
    """`“a”, “b”, …`: at most so many names from outside, for a message."""
    return ", ".join(f"“{short(name)}”" for name in names[:most]) + (", …" if len(names) > most else "")


def junk_kind(name: str) -> str:
    """The name, or a pattern of it (`._*`), of what file browsers, Jupyter or Office leave in folders and nobody means to score; "" for
    anything else."""
    if name.casefold() in _JUNK:
        return name
    if name[:1] not in (".", "~"):
        return ""
    return next((pattern for pattern, matcher in _JUNK_PATTERNS.items() if matcher.fullmatch(name)), "")


def hidden_kind(name: str) -> str:
    """`_*` or `.*` for a name that Spark and Hive take for no part of a table (`_SUCCESS`, `.part-0.crc`); "" for any other. A key of a
    partition (`_store=1`) is one (Spark's `HadoopFSUtils.shouldFilterOutPathName`)."""
    return ".*" if name.startswith(".") else "_*" if name.startswith("_") and "=" not in name else ""


def check_name(field: str, name: str) -> str:
    """`name` as it may be given to a model, dataset or environment; Azure ML's rule (azureml-core,
    `_model_management._util.model_name_validation`). Raises SettingsError on `field`."""
    if not re.fullmatch(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,253}[a-zA-Z0-9_-])?", name) or _RESERVED_BY_WINDOWS.fullmatch(name):
        reason = f"“{short(name)}” can't be a name" if name else "a name is needed"
        hint = "Use letters, digits, - _ and . only, begin with a letter or digit, don't end with a dot, 255 characters at most."
        raise SettingsError(field, reason, hint)
    return name


def proposed_name(file_name: str) -> str:
    """A name that `check_name` takes, from that of a file or folder: `My model (2).joblib` gives `My-model-2`."""
    stem = re.split(r"[/\\]", file_name.strip().rstrip("/\\"))[-1]
    stem = (stem.rsplit(".", 1)[0] or stem).removesuffix(".tar")
    return re.sub(r"[^a-zA-Z0-9._-]+", "-", stem).strip("-._")[:100]


def check_file_name(field: str, name: str) -> str:
    """`name` as it may be given to an output file: `append_row_file_name`'s rule (azureml-pipeline-steps). Raises SettingsError on
    `field`."""
    refused = sorted(set(name) & set(_REFUSED_BY_AZURE.split()) | {character for character in name if ord(character) < 32})
    if not name.strip() or name in (".", "..") or refused or len(name.encode("utf-8", "replace")) > 200:
        reason = f"“{short(name)}” holds {' '.join(map(repr, refused))}" if refused else f"“{short(name)}” is not a file name"
        raise SettingsError(field, f"{field}: {reason}", f"Give a plain file name without {_REFUSED_BY_AZURE}.")
    return name


def file_stem(text: str) -> str:
    """A file name without its ending, good on every system; empty where nothing of the text can be in one."""
    return " ".join(re.sub(r"[^\w\-.,()+= ]+", " ", text).split()).strip("-. ")[:120].strip("-. ")


def safe_relative_path(name: str) -> PurePosixPath:
    """The name of an upload or of an archive's member as a path that stays inside the folder it is put in.

    `/` separates folders. A backslash does not: on Linux and macOS it is a letter like any other, and what Windows makes of it is
    refused there; only `..` and absolute names are refused in either reading. Raises IntakeError.
    """

    def refuse(reason: str) -> IntakeError:
        return IntakeError(f"The file name “{short(name)}” {reason}, so nothing was taken.", "Rename the file and try again.")

    if "\0" in name:
        raise refuse("holds a NUL character")
    if name.startswith(("/", "\\")) or re.match(r"[a-zA-Z]:($|[/\\])", name):
        raise refuse("is an absolute path")
    if ".." in re.split(r"[/\\]", name):
        raise refuse("leads out of its folder by “..”")
    path = PurePosixPath(name)
    if not path.parts:
        raise refuse("is empty")
    if len(path.parts) > _DEEPEST:
        raise refuse(f"is in more than {_DEEPEST} folders, one in the other")
    for part in path.parts:
        if len(part.encode("utf-8", "surrogatepass")) > 255:
            raise refuse("is longer than 255 bytes")
        if sys.platform == "win32" and (set(part) & set('<>:"|?*\\') or PureWindowsPath(part).is_reserved()):
            raise refuse("can't be written on Windows")
    return path
