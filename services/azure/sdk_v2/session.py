"""The client of azure-ai-ml, signed in, and the datastores of its workspace."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from services.azure.auth import session, throttling
from services.azure.auth.sdk_errors import WHERE_IT_IS, message_of, parse_time
from services.azure.auth.session import without_garbage_collection
from services.domain import Metadata, parse_reference
from services.errors import NotFound, SettingsError
from services.file_names import short

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

AUDIENCES = ("https://management.azure.com", "https://ml.azure.com")
"""What the SDK asks tokens for. The second is for submitting: the SDK checks that it is the token's audience."""
CONNECT_SECONDS, READ_SECONDS = 30, 120  # the SDK's own: five minutes each
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


class Session(session.Session["MLClient"]):
    """One `azure.ai.ml.MLClient`."""

    def _open(self) -> MLClient:
        place = self.connection
        with without_garbage_collection():
            from azure.ai.ml import MLClient
            from azure.core.exceptions import ResourceNotFoundError

        logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)  # it and those below write to standard error by themselves
        self.credential.audiences |= {*AUDIENCES}
        client = MLClient(
            self.credential,
            place.subscription_id,
            place.resource_group,
            place.workspace_name,
            enable_telemetry=False,
            show_progress=True,  # else an upload of code of which one file fails never ends
            connection_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            raw_request_hook=_refuse_unwanted,
            raw_response_hook=_give_up_in_time,
        )
        try:
            workspace = client.workspaces.get(place.workspace_name)
        except ResourceNotFoundError as error:
            raise NotFound(f"The workspace {place.location} can't be opened: {message_of(error)}", WHERE_IT_IS) from error
        self._region, self.discovery_url = str(workspace.location), str(workspace.discovery_url)
        return client


class Part:
    """One of the parts of the SDK, which share the session."""

    def __init__(self, session: Session) -> None:
        self._session = session


def _refuse_unwanted(request: Any) -> None:
    """The SDK downloads a schema to validate each MLTable file by. Those here are written by this program, and where the address is out of
    reach that takes five seconds. Any error but its own ends the attempt at once, and the SDK goes on without."""
    if "azuremlschemas" in request.http_request.url:
        raise LookupError("MLTable files are not validated by a schema.")


def _give_up_in_time(response: Any) -> None:
    """The SDK would wait as long as Azure says; the caller may have less time. Its own errors would be retried."""
    from requests.exceptions import RetryError

    status, seconds = response.http_response.status_code, response.http_response.headers.get("Retry-After", "")
    if status in (429, 503) and not throttling.has_time_for(float(seconds) if seconds.isdecimal() else 0.0):
        raise RetryError(f"too many {status} error responses")


def checked(name: str, noun: str) -> str:
    """A name as it may become part of an address: the SDK doesn't escape it. Raises SettingsError on `noun`."""
    if not _NAME.fullmatch(name):
        raise SettingsError(noun, f"“{short(name)}” can't be the name of a {noun}", "Use letters, digits, - _ and . only.")
    return name


def parsed(reference: str, noun: str) -> tuple[str, str]:
    """Name and version of a reference `name:version`, as they may become part of an address. Raises SettingsError on `noun`."""
    name, version = parse_reference(reference, noun)
    return checked(name, noun), str(version)


def described(operations: Any, reference: str, noun: str, note: str | None, tags: Mapping[str, str] | None) -> Metadata:
    """Change what is said of an asset: see `sdk.Models.describe`. `operations` are those of its kind."""
    asset = operations.get(*parsed(reference, noun))
    if note is not None:
        asset.description = note
    asset.tags = {key: value for key, value in {**(asset.tags or {}), **(tags or {})}.items() if value or key not in (tags or {})}
    asset = operations.create_or_update(asset)
    return Metadata(note=asset.description or "", tags={str(key): str(value) for key, value in (asset.tags or {}).items()})


def word(value: Any) -> str:
    """What the service says, of which the SDK may make an enumeration; "" for None."""
    return str(getattr(value, "value", value) or "")


def number_of(asset: Any) -> int:
    """The version of an asset; 0 for one that is no number, as the program's references have it: the service takes any word."""
    return int(asset.version) if str(asset.version).isdecimal() else 0


def created_at(asset: Any) -> datetime | None:
    """Of an asset or job of the SDK."""
    made = asset.creation_context.created_at if asset.creation_context else None
    return made if isinstance(made, datetime) else parse_time(made)
