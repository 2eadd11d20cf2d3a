"""Requirement lists: what an environment is made of, as names and versions, from a requirements.txt, a conda file, names or a model card.

Such lists come inside uploads, so nothing in one leads anywhere: options, addresses, paths and hashes are refused by line, and what is left
is written again from its parts. The SHA-256 of that text is what a person approves before anything is fetched.
"""

from __future__ import annotations

import codecs
import hashlib
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from services.domain import ItemKind, ModelCard
from services.errors import IntakeError, SettingsError
from services.file_names import short
from services.formats import counted
from services.intake.yaml_files import parse_yaml
from services.storage.file_tree import path_given, reading, stat_of
from services.storage.store import Store

_LONGEST_FILE = 256_000  # bytes
_MOST_LINES = 1_000
_LONGEST_LINE = 500
_MOST_REFUSED_NAMED = 5
_HINT = "List names and versions only, such as scikit-learn==1.3.2."
_PLAIN = re.compile(r"[A-Za-z0-9._\-\[\],<>=!~*+;()'\" ]+")
"""Nothing else may be in a line: pip also reads variables (`${NAME}`), comments and further lines out of one."""
_ARCHIVE = re.compile(r"\.(whl|zip|tar|tar\.gz|tgz|tar\.bz2|egg)$", re.IGNORECASE)

_COMPANIONS = ("numpy", "pandas", "pyarrow")
"""What the built-in scorers and tabular datasets need beside the model's own."""
_SETUPTOOLS = "setuptools<82"
"""The last with pkg_resources, which MLflow imported for years: environments used to come with it."""
_WORKERS_PYTHON = (3, 8)


@dataclass(frozen=True)
class RequirementList:
    """Requirements as pip reads them, one a line: names, versions, extras and markers (PEP 508), nothing else.

    `python_version` is the Python it asks for: `3.11`, or specifiers as `>=3.9,<3.12`; where it isn't `python_required`, just what the
    model was made with. `builds` are names that may be built from source, which runs their code; of everything else only wheels are taken.
    `conda_only` are what conda has and PyPI hasn't. `companions` are the lines of it that nobody asked for: the scorers need them, in
    versions that go with the rest. `notes` are sentences for people.
    """

    lines: tuple[str, ...]
    python_version: str = ""
    python_required: bool = False
    builds: tuple[str, ...] = ()
    conda_only: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The list as it is shown and approved."""
        python = [f"# Python {self.python_version}"] if self.python_version else []
        builds = [f"# may be built from source: {', '.join(self.builds)}"] if self.builds else []
        return "".join(f"{line}\n" for line in (*python, *builds, *self.lines))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the packages, as PyPI writes them (`scikit-learn`)."""
        return tuple(canonicalize_name(Requirement(line).name) for line in self.lines)

    def building(self, names: Iterable[str]) -> RequirementList:
        """The same where these may be built from source. Raises IntakeError for what is not a name."""
        builds = [requirement.name for requirement in _parsed("--allow-build", enumerate(names, 1), versions=False)]
        return replace(self, builds=tuple(dict.fromkeys((*self.builds, *builds))))


def from_file(path: str | Path, *, conda: bool = False) -> RequirementList:
    """Of a requirements.txt, or of a `conda` file. Raises NotFound, and IntakeError where it can't be read, or a line isn't taken."""
    path = path_given(path)
    if not path.is_file():
        stat_of(path)
        raise IntakeError(f"{short(str(path))} is not a file.", "Give a requirements.txt, or a conda file.")
    with reading(path) as opened:
        content = opened.read(_LONGEST_FILE + 1)
    return (from_conda if conda else from_requirements)(content, path.name)


def from_requirements(content: bytes, name: str = "requirements.txt") -> RequirementList:
    """Of the bytes of a requirements.txt; `name` is what messages call it. Raises IntakeError, naming the lines that aren't taken."""
    return _list(name, _parsed(name, _logical_lines(_text(content, name))))


def from_packages(names: Sequence[str]) -> RequirementList:
    """Of requirements typed one by one: `scikit-learn`, `scikit-learn==1.3.2`. Raises IntakeError."""
    return _list("--package", _parsed("--package", enumerate(names, 1), noun="number"))


def requirements_for(card: ModelCard) -> RequirementList:
    """What a model needs, with what the built-in scorers need to score it. Raises IntakeError where the model's own list isn't taken, or
    nothing is known of it."""
    if not card.requirements:
        hint = "Inspect the model first, or name the packages yourself."
        raise IntakeError("The model doesn't say what it needs installed.", hint)
    name = "The model's list of requirements"
    needed = _parsed(name, enumerate(card.requirements, 1))
    there = {canonicalize_name(requirement.name) for requirement in needed}
    wanted = [*_COMPANIONS, *(["pillow"] if ItemKind.IMAGE in card.takes else []), *([_SETUPTOOLS] if "mlflow" in there else [])]
    companions = tuple(companion for companion in wanted if Requirement(companion).name not in there)
    notes = []
    for requirement in needed:
        if requirement.name == "mlflow" and card.format == "mlflow" and not requirement.extras:
            requirement.name = "mlflow-skinny"
            notes.append("mlflow-skinny in place of mlflow: it loads the model without the tracking server and what that needs.")
    made = _list(name, [*needed, *map(Requirement, companions)], notes)
    python = re.match(r"(\d+)\.(\d+)", card.python_version)
    known = python and (int(python[1]), int(python[2])) >= _WORKERS_PYTHON
    return replace(made, python_version=python[0] if python and known else "", companions=companions)


def check_approved(requirements: RequirementList, approved: str, store: Store) -> None:
    """Record the consent to a list by its SHA-256, `approved`. Raises SettingsError on `approved` without it, now or earlier."""
    if approved == requirements.sha256:
        store.approve(approved)
    elif approved or not store.approved(requirements.sha256):
        text = f"this list was not approved yet; its SHA-256 is {requirements.sha256}"
        raise SettingsError("approved", text, "Look at the list, then approve it. Nothing was fetched or registered.")


# ---- what is there and what is needed ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unmet:
    """A requirement that an environment doesn't meet: the package, what is wanted of it (`==1.3.2`), and the version there, "" for none."""

    name: str
    wanted: str
    there: str

    def __str__(self) -> str:
        wanted = f"{self.name} {self.wanted.removeprefix('==')}".strip()
        return f"{wanted} (it has {self.there})" if self.there else f"{wanted} (it has none)"


def unmet(requirements: Iterable[str], packages: Mapping[str, str], python_version: str = "") -> list[Unmet]:
    """The requirements that these packages (versions by name, "" where it isn't known) don't meet. Lines that aren't requirements are
    passed over, and those whose marker is about another system or Python. `==` is met by another patch release of the same minor version:
    1.3.2 by 1.3.0. Keras 3 computes with any of its backends, so TensorFlow beside it is met by another one (keras.io/getting_started)."""
    installed: dict[str, str] = {canonicalize_name(name): version for name, version in packages.items()}
    requirements = list(requirements)
    instead = {**_SAME, "tensorflow": ("tensorflow-cpu", "jax", "torch")} if any(map(_IS_KERAS, requirements)) else _SAME
    found = []
    for line in requirements:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        about = {"python_version": ".".join(python_version.split(".")[:2]), "python_full_version": python_version} if python_version else {}
        if requirement.marker and not requirement.marker.evaluate(about):
            continue
        name = canonicalize_name(requirement.name)
        there = next((installed[other] for other in (name, *instead.get(name, ())) if other in installed), None)
        if there is None or (there and not _meets(requirement.specifier, there)):
            found.append(Unmet(name, str(requirement.specifier), there or ""))
    return found


def installed_here(requirements: Iterable[str]) -> dict[str, str]:
    """The versions of these packages, as far as this program's own interpreter has them."""
    found = {}
    for line in requirements:
        with suppress(InvalidRequirement):
            name = canonicalize_name(Requirement(line).name)
            for other in (name, *_SAME.get(name, ())):
                with suppress(PackageNotFoundError):
                    found[other] = version_of(other)
    return found


_SAME = {
    "xgboost": ("xgboost-cpu",), "xgboost-cpu": ("xgboost",), "tensorflow": ("tensorflow-cpu",), "tensorflow-cpu": ("tensorflow",),
    "onnxruntime": ("onnxruntime-gpu",), "mlflow": ("mlflow-skinny",), "mlflow-skinny": ("mlflow",),
}  # fmt: skip
"""Packages that are another build of the same."""
_IS_KERAS = re.compile(r"keras\b(?!-)", re.IGNORECASE).match


def _meets(wanted: SpecifierSet, there: str) -> bool:
    try:
        if wanted.contains(there, prereleases=True):
            return True
        version = Version(there)
        exact = [Version(each.version.removesuffix(".*")) for each in wanted if each.operator == "=="]
    except InvalidVersion:
        return False
    return len(exact) == len(list(wanted)) == 1 and exact[0].release[:2] == version.release[:2]


# ---- lines ----------------------------------------------------------------------------------------------------------------------------


def _text(content: bytes, name: str) -> str:
    if len(content) > _LONGEST_FILE:
        raise IntakeError(f"{short(name)} is too large for a list of requirements: more than {_LONGEST_FILE // 1000} kB.", _HINT)
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return content.decode("utf-16")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise IntakeError(f"{short(name)} can't be read: it is not text in UTF-8.", _HINT) from error


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines with their numbers, without comments and empty ones; those that end with a backslash together with the next, as pip."""
    begun, pending = 0, ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        uncommented = re.sub(r"(^|\s+)#.*$", "", line)
        begun = begun if pending else number
        if uncommented.endswith("\\"):
            pending += uncommented[:-1] + " "
            continue
        whole, pending = (pending + uncommented).strip(), ""
        if whole:
            yield begun, whole


def _parsed(name: str, lines: Iterable[tuple[int, str]], *, versions: bool = True, noun: str = "line") -> list[Requirement]:
    requirements, refused = [], []
    for count, (number, line) in enumerate(lines):
        if count == _MOST_LINES:
            raise IntakeError(f"{short(name)} has more than {_MOST_LINES:,} lines.", _HINT)
        try:
            requirements.append(_requirement(line.strip(), versions=versions))
        except ValueError as error:
            refused.append(f"{noun} {number}, “{_shown(line)}”, {error}")
    if refused:
        more = len(refused) - _MOST_REFUSED_NAMED
        rest = f"; and {counted(more, noun)} more" if more > 0 else ""
        raise IntakeError(f"{short(name)} can't be taken: {'; '.join(refused[:_MOST_REFUSED_NAMED])}{rest}.", _HINT)
    return requirements


def _shown(line: str) -> str:
    """A refused line, short, with no password that may be in its address."""
    return short(re.sub(r"(://)[^/@\s]*@", r"\1…@", line.strip()))


def _requirement(line: str, *, versions: bool = True) -> Requirement:
    """The requirement of a line. Raises ValueError with the reason, the end of a sentence that begins with the line."""
    if len(line) > _LONGEST_LINE:
        raise ValueError(f"is longer than {_LONGEST_LINE} characters")
    if not line.isprintable():
        raise ValueError("holds control characters")
    if re.search(r"(^|\s)--hash\b", line):
        raise ValueError("holds a hash, which is of a file that is never named here")
    if re.search(r"(^|\s)-", line):
        raise ValueError("is an option" if line.startswith("-") else "holds an option")
    if "://" in line or " @ " in line or re.match(r"(git|hg|svn|bzr)\+", line) or re.match(r"[\w.\-]+(\[[^]]*\])?@", line):
        raise ValueError("is an address")
    before_marker = line.partition(";")[0].strip()
    if before_marker.startswith((".", "~")) or set(before_marker) & set("/\\") or _ARCHIVE.search(before_marker):
        raise ValueError("is a path")
    if "$" in line or "%" in line:
        raise ValueError("holds a variable")
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        raise ValueError("is not NAME or NAME==VERSION") from error
    if requirement.url or not _PLAIN.fullmatch(str(requirement)):
        raise ValueError("is not NAME or NAME==VERSION")
    if not versions and str(requirement) != requirement.name:
        raise ValueError("is not just a name")
    requirement.name = canonicalize_name(requirement.name)
    return requirement


def _list(name: str, requirements: Sequence[Requirement], notes: Iterable[str] = ()) -> RequirementList:
    if not requirements:
        raise IntakeError(f"{short(name)} lists no packages.", _HINT)
    said = list(notes)
    lines = []
    for requirement in requirements:
        if instead := _cpu_build(requirement):
            said.append(f"{instead} in place of {requirement.name}, which would bring GPU libraries.")
            requirement.name, requirement.extras = instead, set()
        elif requirement.name in TORCH:
            said.append(f"{requirement.name} comes as its CPU build.")
        lines.append(str(requirement))
    return RequirementList(tuple(dict.fromkeys(lines)), notes=tuple(dict.fromkeys(said)))


TORCH = ("torch", "torchvision", "torchaudio")
"""PyTorch has its CPU builds on an index of its own, under the same names."""

# The first version of a CPU build on PyPI that is called otherwise. All are for Linux on x86-64: elsewhere the plain one has no GPU code.
_CPU_BUILDS = {"xgboost": ("xgboost-cpu", "2.1.1"), "tensorflow": ("tensorflow-cpu", "2.12.0")}
_NEWEST = "9999"  # stands for every version that is still to come


def _cpu_build(requirement: Requirement) -> str:
    """The name of the CPU build of this package that has such a version; "" where there is none, or the plain one is it."""
    name, first = _CPU_BUILDS.get(requirement.name, ("", ""))
    if not name or sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return ""
    newest = Version(_NEWEST)
    try:
        for each in requirement.specifier:
            if each.operator == "~=":
                newest = min(newest, Version(f"{each.version.rpartition('.')[0]}.{_NEWEST}"))
            elif each.operator in ("==", "===", "<=", "<"):
                newest = min(newest, Version(re.sub(r"\*$", _NEWEST, each.version)))
    except InvalidVersion:
        return ""
    return name if newest >= Version(first) else ""


# ---- conda files ----------------------------------------------------------------------------------------------------------------------

_PIP_NAMES = {
    "pytorch": "torch", "pytorch-cpu": "torch", "py-xgboost": "xgboost", "py-xgboost-cpu": "xgboost", "libxgboost": "", "opencv":
    "opencv-python-headless", "py-opencv": "opencv-python-headless", "pytables": "tables", "msgpack-python": "msgpack", "matplotlib-base":
    "matplotlib", "dask-core": "dask", "numpy-base": "", "pyarrow-core": "pyarrow", "tensorflow-base": "tensorflow", "ruamel_yaml":
    "ruamel.yaml", "python-graphviz": "graphviz", "python-flatbuffers": "flatbuffers", "pip": "", "protobuf-python": "protobuf",
    "onnxruntime-cpp": "", "pytorch-lightning": "pytorch-lightning", "python-tzdata": "tzdata", "seaborn-base": "seaborn",
}  # fmt: skip
"""Conda's name and PyPI's, where they differ; "" for what comes by itself."""
_CONDA_ONLY = re.compile(
    r"_.*|(?!librosa$|libcst$)lib.*|r|r-.*|.*-ng|.*[-_]mutex|cpuonly|cuda.*|cudnn|nccl|mkl.*|(open)?blas.*|lapack|tbb.*|icu|openssl|"
    r"ca-certificates|python_abi|sqlite|readline|ncurses|tk|xz|zlib.*|bzip2|zstd|ld_impl.*|gcc.*|gxx.*|gfortran.*|clang.*|llvm.*|intel-openmp|openmp|"
    r"boost-cpp|arrow-cpp|aws-c.*|c-ares|krb5|lz4-c|snappy|zeromq|yaml|ffmpeg|jpeg|freetype|git|make|cmake|pytorch-cuda|nodejs|graphviz|"
    r"hdf5|geos|proj|gdal|openjpeg|vs\d+_runtime|vc|ucrt|m2w64-.*|msys2-.*|expat|pcre2?|gettext|glib.*|dbus|font.*|gst.*|qt.*|openjdk|"
    r"magma|unixodbc|gflags|glog|re2|orc|abseil-cpp|grpc-cpp|ninja-base|binutils.*|sysroot.*|kernel-headers.*|mpi|openmpi|mpich|fftw"
)
"""Libraries and programs, which conda has and PyPI hasn't. Of other names PyPI is asked."""
_CONDA_SPEC = re.compile(r"(?:[\w.\-/]+::)?(?P<name>[A-Za-z0-9_][\w.\-]*)\s*(?P<rest>.*)")


def from_conda(content: bytes, name: str = "conda.yaml") -> RequirementList:
    """Of the bytes of a conda file: its pip part, its Python version, and of its other dependencies those that pip has under the same or
    another known name. Raises IntakeError as `from_requirements`."""
    entries = list(_conda_entries(_text(content, name), name))
    refused, pip_lines, python, conda_only, taken = [], [], "", [], []
    for number, entry, of_pip in entries:
        if of_pip:
            pip_lines.append((number, entry))
            continue
        try:
            package, specifier = _conda_requirement(entry)
        except ValueError as error:
            refused.append(f"line {number}, “{_shown(entry)}”, {error}")
            continue
        if package == "python":
            python = specifier
        elif _PIP_NAMES.get(package, package) == "":
            continue
        elif package not in _PIP_NAMES and _CONDA_ONLY.fullmatch(package):
            conda_only.append(package)
        else:
            pip_lines.append((number, f"{_PIP_NAMES.get(package, package)}{specifier}"))
            taken.append(package)
    if refused:
        raise IntakeError(f"{short(name)} can't be taken: {'; '.join(refused[:_MOST_REFUSED_NAMED])}.", _HINT)
    notes = [f"Only conda has these, so they are left out: {', '.join(conda_only)}."] if conda_only else []
    if taken:
        notes.append(f"These come from PyPI in place of conda: {', '.join(taken)}.")
    if pip_lines:
        made = _list(name, _parsed(name, sorted(pip_lines)), notes)
        wanted = python.removeprefix("==").removesuffix(".*") if re.fullmatch(r"==[\d.]+(\.\*)?", python) else python
        return replace(made, python_version=wanted, python_required=bool(wanted), conda_only=tuple(conda_only))
    raise IntakeError(f"{short(name)} lists no packages that pip has.{''.join(f' {note}' for note in notes)}", _HINT)


def _conda_entries(text: str, name: str) -> Iterator[tuple[int, str, bool]]:
    """Of a conda file: line number, text, and whether it is one of pip's. Nothing of it is constructed: only its nodes are looked at."""
    hint = "Give a conda file: a YAML file with dependencies, such as python=3.11 and a pip list."
    root = parse_yaml(text, f"The conda file {short(name)}", hint, nodes=True)
    dependencies = _value_of(root, "dependencies")
    if dependencies is None or dependencies.id != "sequence":
        raise IntakeError(f"{short(name)} lists no dependencies.", hint)
    for node in dependencies.value:
        line = node.start_mark.line + 1
        pip = _value_of(node, "pip")
        if node.id == "scalar":
            yield line, node.value.strip(), False
        elif pip is not None and pip.id == "sequence" and len(node.value) == 1:
            for entry in pip.value:
                if entry.id != "scalar":
                    raise IntakeError(f"{short(name)}, line {entry.start_mark.line + 1}: this is not a text.", hint)
                yield entry.start_mark.line + 1, entry.value.strip(), True
        else:
            raise IntakeError(f"{short(name)}, line {line}: this is neither a package nor a list of pip's.", hint)


def _value_of(node: Any, key: str) -> Any:
    """The node under a key of a mapping's node; None where there is none."""
    pairs = node.value if node is not None and node.id == "mapping" else ()
    return next((value for name, value in pairs if name.id == "scalar" and name.value == key), None)


def _conda_requirement(entry: str) -> tuple[str, str]:
    """Name and pip's specifier of a conda dependency: `numpy=1.26` is numpy and `==1.26.*`, since one = is any version that begins so.
    Builds (`=py311h_0`) are conda's own, and left out. Raises ValueError with the reason."""
    if "://" in entry:
        raise ValueError("is an address")
    match = _CONDA_SPEC.fullmatch(entry)
    if match is None:
        raise ValueError("is not NAME or NAME=VERSION")
    name, rest = canonicalize_name(match["name"]) if not match["name"].startswith("_") else match["name"].lower(), match["rest"].strip()
    if "|" in rest or "[" in rest:
        raise ValueError("chooses in a way that only conda has")
    if not rest:
        return name, ""
    if rest[0] in "<>!~" or rest.startswith("=="):
        parts = [re.match(r"\s*([<>=!~]{1,2})\s*([^\s=]+)", part) for part in rest.split(",")]
        if None in parts:
            raise ValueError("is not NAME or NAME=VERSION")
        specifier = ",".join(part[1] + part[2] for part in parts if part)
    else:
        version, _, build = re.sub(r"^=", "", rest).replace(" ", "=").partition("=")
        exact = build or not rest.startswith("=") or version.endswith("*")
        version = version.removesuffix("*").removesuffix(".") + (".*" if version.endswith("*") else "")
        specifier = f"=={version}" if exact else f"=={version}.*"
    try:
        return name, str(SpecifierSet(specifier))
    except InvalidSpecifier as error:
        raise ValueError("is not NAME or NAME=VERSION") from error
