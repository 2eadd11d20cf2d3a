"""Environments by azure-ai-ml: an image, and a conda file that Azure ML builds upon it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from services.azure.catalog.environments import packages_of
from services.azure.catalog.uploads import in_parallel
from services.azure.sdk import Image
from services.azure.sdk_v2.session import Session, checked, created_at, number_of
from services.domain import Environment, utc_now

if TYPE_CHECKING:
    from azure.ai.ml.entities import Environment as SdkEnvironment

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"
"""What the SDK v1 builds on, too. An environment of v2 has to name one."""
_OF_A_STEP = {"mltable": "mltable>=1.2.0"}
"""What a step of v2 needs besides that of v1, to read tables: as in Microsoft's examples of parallel jobs."""


class Environments:
    """See `sdk.Environments`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def all(self) -> list[Environment]:
        with self._session.sdk_calls("The environments can't be listed") as client:
            newest = [(str(one.name), one.latest_version) for one in client.environments.list() if one.latest_version]
            return [noun(one) for one in in_parallel(lambda known: client.environments.get(*known), newest)]

    def register(self, name: str, conda_file: Path) -> Environment:
        return self._create(name, str(conda_file))

    def create(self, name: str, python: str, requirements: Sequence[str]) -> Environment:
        return self._create(name, conda_of(name, python, requirements))

    def _create(self, name: str, conda: Any) -> Environment:
        """The SDK takes the newest version again where it has this content, else the next."""
        with self._session.sdk_calls(f"Environment {name} was not registered", "name") as client:
            from azure.ai.ml.entities import Environment as SdkEnvironment

            made = SdkEnvironment(name=checked(name, "name"), image=IMAGE, conda_file=conda)
            return noun(client.environments.create_or_update(made))

    def image(self, name: str, version: int | None) -> Image:
        """The SDK doesn't tell whether it was built."""
        return Image.UNKNOWN


def conda_of(name: str, python: str, requirements: Sequence[str]) -> dict[str, Any]:
    """The content of a conda file with these requirements, and what a step needs where they don't name it."""
    known = {canonicalize_name(Requirement(line).name) for line in requirements}
    lines = [*requirements, *(line for named, line in _OF_A_STEP.items() if named not in known)]
    return {"name": name, "channels": ["conda-forge"], "dependencies": [f"python={python}", "pip", {"pip": lines}]}


def noun(environment: SdkEnvironment) -> Environment:
    """The SDK's environment as ours. Its `interpreter` is what it is built on."""
    conda: Any = environment.conda_file or {}
    packages = packages_of(conda.get("dependencies") or [])
    python, image = packages.pop("python", ""), environment.image or ("a Dockerfile" if environment.build else "")
    return Environment(
        name=str(environment.name),
        version=number_of(environment),
        interpreter=f"conda, on {image}" if conda and image else image or "conda",
        python_version=python,
        packages=packages,
        created_at=created_at(environment) or utc_now(),
    )
