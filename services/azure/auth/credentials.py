"""azure-identity's credentials for each way of signing in, and those of tokens that were relayed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from services.azure.auth.session import credential_of_a_person
from services.connection import Connection, SignIn
from services.errors import WorkspaceUnavailable

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential


def credential(connection: Connection, notify: Callable[[str], None]) -> TokenCredential:
    """azure-identity's for this way of signing in, or the tokens that were relayed. `notify` gets what the person has to do. Raises
    WorkspaceUnavailable."""
    from azure.identity import ClientSecretCredential, ManagedIdentityCredential

    if connection.tokens:
        return _Relayed(connection.tokens)
    if connection.sign_in is SignIn.SERVICE_PRINCIPAL:
        principal = connection.with_secret()
        if not principal.secret:
            text = f"There is no secret for the service principal {principal.client_id}."
            raise WorkspaceUnavailable(text, "Give it on the Connection page, or set AZURE_CLIENT_SECRET.")
        return ClientSecretCredential(principal.tenant_id, principal.client_id, principal.secret)
    if connection.sign_in is SignIn.MANAGED_IDENTITY:
        return ManagedIdentityCredential(**{"client_id": connection.client_id} if connection.client_id else {})
    return credential_of_a_person(connection, notify)  # type: ignore[no-any-return]


class Credential:
    """Another one, which notes what it is asked for: where storage signs in by identity, a runner needs that too."""

    def __init__(self, inner: TokenCredential, audiences: Iterable[str]) -> None:
        self._inner, self.audiences = inner, set(audiences)

    def get_token(self, *scopes: str, **more: Any) -> AccessToken:
        token = self._inner.get_token(*scopes, **more)
        self.audiences |= {scope.removesuffix("/.default") for scope in scopes}
        return token


class _Relayed:
    """Of access tokens by audience, which may be replaced meanwhile."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._tokens = tokens

    def get_token(self, *scopes: str, **_more: Any) -> AccessToken:
        from azure.core.credentials import AccessToken
        from azure.core.exceptions import ClientAuthenticationError

        audience = scopes[0].removesuffix("/.default")
        if not (text := self._tokens.get(audience)):
            raise ClientAuthenticationError(f"The run was given no access token for {audience}.")
        claims = text.split(".")[1]
        return AccessToken(text, int(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"]))
