"""`sdk.Environments` by `azureml.core.Environment`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from services.azure.auth import retry
from services.azure.auth.sdk_errors import unless_not_found
from services.azure.catalog import environments
from services.azure.catalog.mltables import yaml_of
from services.azure.sdk import Image
from services.azure.sdk_v1.session import Part
from services.domain import Environment, parse_reference
from services.errors import NotFound
from services.handover.azure_packages import conda_of

if TYPE_CHECKING:
    from azureml.core import Environment as SdkEnvironment


class Environments(Part):
    needed: Sequence[str] = ()

    def all(self) -> list[Environment]:
        def list_latest() -> list[Environment]:
            with self._session.sdk_calls("The environments can't be listed") as workspace:
                from azureml.core import Environment as SdkEnvironment

                return [noun(environment) for environment in SdkEnvironment.list(workspace).values()]

        return retry.call(self._session.retries, list_latest)

    def register(self, name: str, conda: Mapping[str, Any]) -> Environment:
        with self._session.sdk_calls(f"Environment {name} was not registered", "name") as workspace:
            return noun(made(name, conda).register(workspace))

    def image(self, name: str, version: int | None) -> Image:
        with self._session.sdk_calls(f"Environment {name} can't be read", "environment") as workspace:
            details = unless_not_found(lambda: self._get(name, version).get_image_details(workspace))
        return Image.NO_ENVIRONMENT if details is None else Image.BUILT if details.image_exist else Image.NOT_BUILT

    def _get(self, name: str, version: int | None) -> SdkEnvironment:
        from azureml.core import Environment as SdkEnvironment

        return SdkEnvironment.get(self._session.client, name, version=str(version) if version else None)

    def of_run(self, reference: str | None, requirements: Sequence[str] = (), python: str = "") -> SdkEnvironment:
        """The environment to submit a run with: `name` or `name:version`; for None one made of these requirements of the run's model, and
        without them the default one. Raises NotFound."""
        if not reference:
            default = environments.to_make(requirements, python)
            return made(default.name, conda_of(default.python, default.requirements))
        name, number = parse_reference(reference, "environment")
        with self._session.sdk_calls(f"Environment {reference} can't be read", "environment"):
            if found := unless_not_found(lambda: self._get(name, number)):
                return found
        raise NotFound(f"There is no environment called “{reference}”.", "Choose another, or register it.")


def made(name: str, conda: Mapping[str, Any]) -> SdkEnvironment:
    """One that is not registered yet, of the content of a conda file, which the SDK takes as a file only."""
    from azureml.core import Environment as SdkEnvironment

    with TemporaryDirectory() as folder:
        path = Path(folder, "conda.yml")
        path.write_bytes(yaml_of(conda))
        return SdkEnvironment.from_conda_specification(name, str(path))


def noun(environment: SdkEnvironment) -> Environment:
    """The SDK's environment as ours."""
    conda, docker, number = environment.python.conda_dependencies, environment.docker, str(environment.version or "")
    image = docker.base_image or ("a Dockerfile" if docker.base_dockerfile else "")
    return environments.noun(environment.name, int(number) if number.isdecimal() else 0, conda and conda.as_dict(), image)
