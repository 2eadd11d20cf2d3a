"""The workspace of azureml-core, signed in."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from services import environment_variables
from services.azure.auth import retry, session
from services.azure.auth.session import credential_of_a_person, without_garbage_collection
from services.connection import Connection, SignIn
from services.errors import WorkspaceUnavailable

if TYPE_CHECKING:
    from azureml.core import Workspace
    from azureml.core.authentication import AbstractAuthentication

AUDIENCE = "https://management.core.windows.net/"
"""What the SDK asks tokens for; the same one opens the workspace's own services."""

_THEIR_OWN = r"(azureml|azure|msrest|msrestazure|applicationinsights|ruamel|adal|msal|paramiko|knack)(\.|$)"
"""The modules whose deprecation warnings nobody here can fix."""


class Session(session.Session["Workspace"]):
    """One `azureml.core.Workspace`. Also what its Rust part prints is kept from a command's standard output."""

    _authentication: AbstractAuthentication

    def _open(self) -> Workspace:
        place = self.connection
        warnings.filterwarnings("ignore", module=_THEIR_OWN)
        if self._of_a_command:
            retry.shorten_sdk_backoff()
        with without_garbage_collection():
            from azureml.core import Workspace

        skip_stack_traces()
        self._authentication = authentication(place, self._notify)
        return Workspace.get(
            place.workspace_name,
            auth=self._authentication,
            subscription_id=place.subscription_id,
            resource_group=place.resource_group,
        )

    def _tokens(self) -> Mapping[str, str]:
        return {AUDIENCE: self._authentication._get_arm_token()}

    def region(self) -> str:
        with self.sdk_calls("You are not signed in") as workspace:
            return str(workspace.location)


def skip_stack_traces() -> None:
    """The SDK's data access notes the stack of each of its calls for telemetry that goes nowhere. That takes about 20 ms, longer than most
    calls: where a frame belongs to no module, as below `python -m`, it looks through all that are loaded."""
    from azureml.dataprep.api._loggerfactory import _LoggerFactory

    _LoggerFactory.get_stack = staticmethod(lambda limit=3, start=1: "")


def authentication(connection: Connection, notify: Callable[[str], None]) -> AbstractAuthentication:
    """The SDK's authentication for this way of signing in. `notify` gets what the person has to do. Raises WorkspaceUnavailable.

    A person's sign-in is azure-identity's, whose tokens stay in memory: the SDK's own InteractiveLoginAuthentication writes them to
    ~/.azureml/auth, and its AzureCliAuthentication wants azure-cli installed in this very environment.
    """
    from azureml.core.authentication import MsiAuthentication, ServicePrincipalAuthentication

    if connection.tokens:
        return _token_authentication(lambda audience: connection.tokens.get(audience) or connection.tokens[AUDIENCE])
    if connection.sign_in is SignIn.SERVICE_PRINCIPAL:
        principal = connection.with_secret()
        if not principal.secret:
            text = f"There is no secret for the service principal {principal.client_id}."
            raise WorkspaceUnavailable(text, "Give it on the Connection page, or set AZURE_CLIENT_SECRET.")
        return ServicePrincipalAuthentication(principal.tenant_id, principal.client_id, principal.secret, cloud=_cloud())
    if connection.sign_in is SignIn.MANAGED_IDENTITY:
        return MsiAuthentication(cloud=_cloud(), identity_config={"client_id": connection.client_id} if connection.client_id else None)
    credential = credential_of_a_person(connection, notify)
    return _token_authentication(lambda audience: credential.get_token(audience.rstrip("/") + "/.default").token)


def _cloud() -> str:
    """AzureCloud, or the one in the SDK's own variable. Given explicitly, since the SDK would look it up on the web."""
    return environment_variables.value("AZUREML_CURRENT_CLOUD") or "AzureCloud"


def _token_authentication(token: Callable[[str], str]) -> AbstractAuthentication:
    from azureml.core.authentication import TokenAuthentication

    class Tokens(TokenAuthentication):  # type: ignore[misc]
        """TokenAuthentication lacks the two that other parts of the SDK ask for."""

        def _get_azureml_client_token(self) -> str:
            return token(AUDIENCE)

        def get_token(self, *_scopes: object, **_more: object) -> Any:
            from azureml.core.authentication import AccessToken, _get_exp_time

            text = token(AUDIENCE)
            return AccessToken(text, int(_get_exp_time(text)))

    return Tokens(token, cloud=_cloud())
