"""MLflow model folders: found by their file MLmodel, unpacked where they come in an archive, their YAML read. Nothing is executed."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from services.errors import IntakeError
from services.file_names import junk_kind, proposed_name, short
from services.intake.archives import extract_archive
from services.intake.pickle_scan import BROKEN
from services.intake.yaml_files import read_yaml
from services.storage.file_tree import reading

MLMODEL = "MLmodel"
_MOST_MEMBERS = 100_000
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.zstd", ".tzst")


def prepare_model(path: Path, staging: Path) -> Path:
    """What to register for the file or folder at `path`: of an archive of one MLflow model its folder, unpacked below `staging`; of a
    folder that holds nothing but the folder of one, that one; else `path` itself. Raises IntakeError for an archive that can't be unpacked.
    """
    if path.is_dir():
        inside = [entry for entry in path.iterdir() if not junk_kind(entry.name)]
        only = inside[0] if len(inside) == 1 and not (path / MLMODEL).is_file() else None
        return only if only and not only.is_symlink() and (only / MLMODEL).is_file() else path
    if not _is_archive_of_one(path):
        return path
    place = staging / "archive"
    extract_archive(path, place, max_files=_MOST_MEMBERS)
    root = place if (place / MLMODEL).is_file() else next(place.glob(f"*/{MLMODEL}")).parent
    unpacked = staging / "unpacked" / (proposed_name(path.name if root == place else root.name) or "model")
    unpacked.parent.mkdir()
    root.rename(unpacked)
    return unpacked


def _is_archive_of_one(path: Path) -> bool:
    """Whether a file is an archive of one MLflow model, at its top or one level below."""
    with reading(path) as source:
        head = source.read(4)
    try:
        if head.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(path) as archive:
                return _holds_one(archive.namelist())
        if path.name.lower().endswith(_TARS):
            return _holds_one(_names_in_tar(path))
    except (*BROKEN, tarfile.TarError, NotImplementedError):
        return False
    return False


def _names_in_tar(path: Path) -> Iterable[str]:
    if path.name.lower().endswith((".zst", ".zstd", ".tzst")):
        from backports import zstd

        with zstd.open(path, "rb") as source, tarfile.open(fileobj=source, mode="r|") as archive:
            yield from _first_names(archive)
    else:
        with tarfile.open(path, "r|*") as archive:
            yield from _first_names(archive)


def _first_names(archive: tarfile.TarFile) -> Iterable[str]:
    for number, member in enumerate(archive):
        if number >= _MOST_MEMBERS:
            return
        archive.members.clear()  # type: ignore[attr-defined] # tarfile keeps them all
        yield member.name


def _holds_one(names: Iterable[str]) -> bool:
    folders = {path.parent for name in names if (path := PurePosixPath(name)).name == MLMODEL}
    return len([folder for folder in folders if len(folder.parts) <= 1 and not junk_kind(folder.name)]) == 1


def read_mlmodel(folder: Path) -> dict[str, Any]:
    """The values of the folder's MLmodel. Raises IntakeError where it can't be read, is not YAML, or has no flavour."""
    values = read_values(folder / MLMODEL)
    flavors = values.get("flavors") if isinstance(values, dict) else None
    if not isinstance(flavors, dict) or not flavors:
        raise IntakeError(f"The file MLmodel of “{short(folder.name)}” names no flavour.", "Save the model again by MLflow.")
    return {str(name): value for name, value in values.items()}


def read_values(path: Path) -> Any:
    """The values of one of the folder's YAML files. Raises IntakeError where it is large, damaged, or holds aliases."""
    return read_yaml(path, f"The file {path.name} of “{short(path.parent.name)}”", "Save the model again by MLflow.")
