"""azure-identity's credentials for each way of signing in, and those of tokens that were relayed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from services import environment_variables
from services.connection import Connection, SignIn
from services.errors import WorkspaceUnavailable

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

_AUTHORITIES = {"AzureChinaCloud": "login.chinacloudapi.cn", "AzureUSGovernment": "login.microsoftonline.us"}


class Credential:
    """Signs in by the connection's way, or has the tokens that were relayed. It notes the audiences that it is asked for: a runner needs
    the tokens of these. `notify` gets what the person has to do. Raises WorkspaceUnavailable without a secret, and what azure-identity
    raises."""

    def __init__(self, connection: Connection, notify: Callable[[str], None]) -> None:
        self._relayed = connection.tokens
        self._inner = None if connection.tokens else _credential(connection, notify)
        self.audiences: set[str] = set()

    def get_token(self, *scopes: str, **more: Any) -> AccessToken:
        token = self._inner.get_token(*scopes, **more) if self._inner else self._relayed_token(scopes[0].removesuffix("/.default"))
        self.audiences |= {scope.removesuffix("/.default") for scope in scopes}
        return token

    def _relayed_token(self, audience: str) -> AccessToken:
        from azure.core.credentials import AccessToken
        from azure.core.exceptions import ClientAuthenticationError

        if not (text := self._relayed.get(audience)):
            raise ClientAuthenticationError(f"The run was given no access token for {audience}.")
        return AccessToken(text, int(time.time()))  # so that it is asked for each time: it may be replaced meanwhile

    def tokens(self) -> dict[str, str]:
        """By audience, as `Connection.tokens` gives them to a runner."""
        return {audience: self.get_token(f"{audience}/.default").token for audience in sorted(self.audiences)}


def _credential(connection: Connection, notify: Callable[[str], None]) -> TokenCredential:
    """A person's tokens stay in memory: azureml-core's own InteractiveLoginAuthentication writes them to ~/.azureml/auth, and its
    AzureCliAuthentication wants azure-cli installed in this very environment."""
    from azure.identity import (
        AzureCliCredential,
        ClientSecretCredential,
        DeviceCodeCredential,
        InteractiveBrowserCredential,
        ManagedIdentityCredential,
    )

    authority: dict[str, Any] = {}  # azure-identity's own, or that of AZURE_AUTHORITY_HOST
    if host := _AUTHORITIES.get(environment_variables.value("AZUREML_CURRENT_CLOUD")):
        authority = {"authority": host}
    tenant: dict[str, Any] = {"tenant_id": connection.tenant_id} if connection.tenant_id else {}
    match connection.sign_in:
        case SignIn.SERVICE_PRINCIPAL:
            principal = connection.with_secret()
            if not principal.secret:
                text = f"There is no secret for the service principal {principal.client_id}."
                raise WorkspaceUnavailable(text, "Give it on the Connection page, or set AZURE_CLIENT_SECRET.")
            return ClientSecretCredential(principal.tenant_id, principal.client_id, principal.secret, **authority)
        case SignIn.MANAGED_IDENTITY:
            return ManagedIdentityCredential(**{"client_id": connection.client_id} if connection.client_id else {})
        case SignIn.AZURE_CLI:
            return AzureCliCredential(**tenant)
        case SignIn.DEVICE_CODE:
            return DeviceCodeCredential(
                prompt_callback=lambda address, code, _until: notify(f"Open {address} and enter the code {code}"),
                timeout=600,
                **tenant,
                **authority,
            )
    notify("A browser window opens on the machine where this program runs: sign in there.")
    return InteractiveBrowserCredential(timeout=600, **tenant, **authority)
