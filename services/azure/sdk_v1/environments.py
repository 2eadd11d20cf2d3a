"""`sdk.Environments` by `azureml.core.Environment`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.azure.auth.sdk_errors import is_not_found
from services.azure.catalog.environments import packages_of, to_make
from services.azure.sdk import Image
from services.azure.sdk_v1.session import Session
from services.domain import Environment, parse_reference, utc_now
from services.errors import NotFound

if TYPE_CHECKING:
    from azureml.core import Environment as SdkEnvironment
    from azureml.core import Workspace


class Environments:
    def __init__(self, session: Session) -> None:
        self._session = session

    def all(self) -> list[Environment]:
        def list_latest(workspace: Workspace) -> list[Environment]:
            from azureml.core import Environment as SdkEnvironment

            return [noun(environment) for environment in SdkEnvironment.list(workspace).values()]

        return self._session.with_retries("The environments can't be listed", list_latest)

    def register(self, name: str, conda_file: Path) -> Environment:
        with self._session.sdk_calls(f"Environment {name} was not registered", "name") as workspace:
            from azureml.core import Environment as SdkEnvironment

            return noun(SdkEnvironment.from_conda_specification(name, str(conda_file)).register(workspace))

    def create(self, name: str, python: str, requirements: Sequence[str]) -> Environment:
        with self._session.sdk_calls(f"Environment {name} was not registered", "name") as workspace:
            return noun(made(name, python, requirements).register(workspace))

    def image(self, name: str, version: int | None) -> Image:
        with self._session.sdk_calls(f"Environment {name} can't be read", "environment") as workspace:
            try:
                details = self._get(name, version).get_image_details(workspace)
            except Exception as error:  # the SDK raises a plain one
                if is_not_found(error) or "404" in str(error):
                    return Image.NO_ENVIRONMENT
                raise
        return Image.BUILT if details.image_exist else Image.NOT_BUILT

    def _get(self, name: str, version: int | None) -> SdkEnvironment:
        from azureml.core import Environment as SdkEnvironment

        return SdkEnvironment.get(self._session.client, name, version=str(version) if version else None)

    def of_run(self, reference: str | None, requirements: Sequence[str] = (), python: str = "") -> SdkEnvironment:
        """The environment to submit a run with: `name` or `name:version`; for None one made of these requirements of the run's model, and
        without them the default one. Raises NotFound."""
        if not reference:
            return made(*to_make(requirements, python))
        name, number = parse_reference(reference, "environment")
        with self._session.sdk_calls(f"Environment {reference} can't be read", "environment"):
            try:
                return self._get(name, number)
            except Exception as error:  # the SDK raises a plain one
                if is_not_found(error):
                    raise NotFound(f"There is no environment called “{reference}”.", "Choose another, or register it.") from error
                raise


def made(name: str, python: str, requirements: Sequence[str]) -> SdkEnvironment:
    from azureml.core import Environment as SdkEnvironment
    from azureml.core.conda_dependencies import CondaDependencies

    environment = SdkEnvironment(name)
    conda = CondaDependencies.create(python_version=python, pip_packages=list(requirements), pin_sdk_version=False)
    conda.remove_pip_package("azureml-defaults")  # the SDK adds it; it wants an older Python's packages
    environment.python.conda_dependencies = conda
    return environment


def noun(environment: SdkEnvironment) -> Environment:
    """The SDK's environment as ours. Its `interpreter` is what it is built on."""
    conda = environment.python.conda_dependencies
    lines: list[Any] = list((conda.as_dict() if hasattr(conda, "as_dict") else conda._conda_dependencies)["dependencies"]) if conda else []
    packages = packages_of(lines)
    python = packages.pop("python", "")
    image = environment.docker.base_image or ("a Dockerfile" if environment.docker.base_dockerfile else "")
    number = str(environment.version or "")
    return Environment(
        name=environment.name,
        version=int(number) if number.isdecimal() else 0,
        interpreter=f"conda, on {image}" if lines and image else image or "conda",
        python_version=python,
        packages=packages,
        created_at=utc_now(),
    )
