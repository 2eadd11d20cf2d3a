"""What a wheel requires, and its extras: the pins of requirements.txt, less those that are there for requirements-dev.in alone."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

EXTRAS = ("azure", "azure-v2")
"""Each with a list of its own, such as requirements-azure.in."""


def runtime_requirements(lock: str, extra: str = "") -> list[str]:
    """The lines `name==version ; markers` of a lock that requirements.in leads to, by the `# via` under each line of the lock; or those
    that an extra adds to them."""
    pins: list[tuple[str, str, set[str]]] = []  # a name, its line, who requires it; a name has a line for each of its versions
    for line in lock.splitlines():
        if name := re.match(r"[\w.-]+", line):
            pins.append((name[0], line, set()))
        elif via := re.fullmatch(r" +# (?:via)? *(.+)", line):
            pins[-1][2].add(via[1])

    def needed_by(requirements: str) -> set[str]:
        needed = {f"-r {requirements}"}
        while more := {name for name, _, required_by in pins if required_by & needed} - needed:
            needed |= more
        return needed

    always = needed_by("requirements.in")
    wanted = needed_by(f"requirements-{extra}.in") - always if extra else always
    return [line for name, line, _ in pins if name in wanted]


class LockedDependencies(MetadataHookInterface):
    """Hatchling's hook for the dependencies and extras, which pyproject.toml calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        lock = Path(self.root, "requirements.txt").read_text(encoding="utf-8")
        metadata["dependencies"] = runtime_requirements(lock)
        metadata["optional-dependencies"] = {extra: runtime_requirements(lock, extra) for extra in EXTRAS}
