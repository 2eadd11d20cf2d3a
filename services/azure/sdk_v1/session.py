"""The workspace of azureml-core, signed in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from services import environment_variables
from services.azure.auth import session
from services.azure.auth.credentials import Credential
from services.azure.auth.session import without_garbage_collection

if TYPE_CHECKING:
    from azureml.core import Workspace
    from azureml.core.authentication import AbstractAuthentication

SDK_BACKOFF = {"AZUREML_DEFAULT_BACKOFF": "4", "AZUREML_DEFAULT_503_BACKOFF": "4"}
"""The SDK's own variables for its first wait, which it doubles twice: 28 seconds in all, instead of 224. They are read when it is imported.
"""


class Session(session.Session["Workspace"]):
    """One `azureml.core.Workspace`. Also what its Rust part prints is kept from a command's standard output."""

    def _open(self) -> Workspace:
        place = self.connection
        if self._of_a_command:
            for name, seconds in SDK_BACKOFF.items():
                os.environ.setdefault(name, seconds)
        with without_garbage_collection():
            from azureml.core import Workspace

        skip_stack_traces()
        workspace = Workspace.get(
            place.workspace_name,
            auth=authentication(self.credential),
            subscription_id=place.subscription_id,
            resource_group=place.resource_group,
        )
        self.audience = next(iter(self.credential.audiences))  # of its cloud: the SDK has asked for no other yet
        self._region, self.discovery_url = str(workspace.location), str(workspace.discovery_url)
        return workspace


class Part:
    """One of the parts of the SDK, which share the session."""

    def __init__(self, session: Session) -> None:
        self._session = session


def skip_stack_traces() -> None:
    """The SDK's data access notes the stack of each of its calls for telemetry that goes nowhere. That takes about 20 ms, longer than most
    calls: where a frame belongs to no module, as below `python -m`, it looks through all that are loaded."""
    from azureml.dataprep.api._loggerfactory import _LoggerFactory

    _LoggerFactory.get_stack = staticmethod(lambda limit=3, start=1: "")


def authentication(credential: Credential) -> AbstractAuthentication:
    """The SDK's, of tokens of azure-identity."""
    from azureml.core.authentication import AccessToken, TokenAuthentication, _get_exp_time

    class Tokens(TokenAuthentication):  # type: ignore[misc]
        """TokenAuthentication lacks the two that other parts of the SDK ask for. The same token opens the workspace's own services."""

        def _get_azureml_client_token(self) -> str:
            return str(self._get_arm_token())

        def get_token(self, *_scopes: object, **_more: object) -> Any:
            text = self._get_arm_token()
            return AccessToken(text, int(_get_exp_time(text)))

    # Given explicitly, since the SDK would look it up on the web.
    cloud = environment_variables.value("AZUREML_CURRENT_CLOUD") or "AzureCloud"
    return Tokens(lambda audience: credential.get_token(audience.rstrip("/") + "/.default").token, cloud=cloud)
