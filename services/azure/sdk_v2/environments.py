"""Environments by azure-ai-ml: an image, and a conda file that Azure ML builds upon it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from services.azure.catalog import environments
from services.azure.catalog.downloads import in_parallel
from services.azure.sdk import Image
from services.azure.sdk_v2.session import Part, checked, created_at, number_of
from services.domain import Environment
from services.handover.azure_packages import IMAGE, V2_STEP_PACKAGES

if TYPE_CHECKING:
    from azure.ai.ml.entities import Environment as SdkEnvironment


class Environments(Part):
    needed: Sequence[str] = V2_STEP_PACKAGES

    def all(self) -> list[Environment]:
        with self._session.sdk_calls("The environments can't be listed") as client:
            newest = [(str(one.name), one.latest_version) for one in client.environments.list() if one.latest_version]
            return [noun(one) for one in in_parallel(lambda known: client.environments.get(*known), newest)]

    def register(self, name: str, conda: Mapping[str, Any]) -> Environment:
        """The SDK takes the newest version again where it has this content, else the next."""
        with self._session.sdk_calls(f"Environment {name} was not registered", "name") as client:
            from azure.ai.ml.entities import Environment as SdkEnvironment

            made = SdkEnvironment(name=checked(name, "name"), image=IMAGE, conda_file=dict(conda))
            return noun(client.environments.create_or_update(made))

    def image(self, name: str, version: int | None) -> Image:
        """The SDK doesn't tell whether it was built."""
        return Image.UNKNOWN


def noun(environment: SdkEnvironment) -> Environment:
    """The SDK's environment as ours."""
    conda: Any = environment.conda_file
    image = environment.image or ("a Dockerfile" if environment.build else "")
    return environments.noun(str(environment.name), number_of(environment), conda, image, created_at(environment))
