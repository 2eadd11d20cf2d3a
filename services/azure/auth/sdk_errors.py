"""The SDK's run states, times and errors as ours: translated here and nowhere else.

What the SDK raises was seen by making it fail: its own exceptions, msrest's, azure-core's, those of requests, of the Rust data access (as
`ExecutionError`), and bare `Exception`.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum, auto
from typing import NamedTuple, TypeVar

from services.domain import RunStatus
from services.errors import NotFound, SettingsError, StudioError, WorkspaceUnavailable

T = TypeVar("T")

_FOREIGN = {"azureml", "azure", "msrest", "msrestazure", "requests", "urllib3", "msal", "rslex", "adal", "_rslex"}

_STATUSES = {
    "Finished": RunStatus.COMPLETED,  # a pipeline run's word
    "Preparing": RunStatus.QUEUED,
    "Provisioning": RunStatus.QUEUED,
    "Starting": RunStatus.QUEUED,
    "Pending": RunStatus.QUEUED,
    "Waiting": RunStatus.QUEUED,
    "Finalizing": RunStatus.RUNNING,
    "Bypassed": RunStatus.COMPLETED,
    "Unapproved": RunStatus.FAILED,
    "Cancelled": RunStatus.CANCELED,
    "NotResponding": RunStatus.RUNNING,  # there: its node is silent; here: nobody follows the run
}


def run_status(sdk_status: str) -> str:
    """The RunStatus of a run, a pipeline run or a step run as the SDK spells it; a word that isn't known stays that word."""
    return _STATUSES.get(sdk_status) or (RunStatus(sdk_status) if sdk_status in list(RunStatus) else sdk_status)


def parse_time(text: str | None) -> datetime | None:
    """A time as the service writes it: UTC where it doesn't say, with up to seven digits of a second; None for anything else."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


# ---- the table of errors ---------------------------------------------------------------------------------------------------------


class _SdkError(NamedTuple):
    """What is known of a foreign error: its message, the HTTP status, the class names of it and its causes, and the caller's `field`."""

    message: str
    status: int | None
    types: set[str]
    field: str

    def says(self, pattern: str) -> bool:
        return re.search(pattern, self.message, re.IGNORECASE | re.DOTALL) is not None


_OF_THE_WORKSPACE = {"WorkspaceException", "ProjectSystemException"}
_OF_THE_SIGN_IN = {
    "AuthenticationException", "ClientAuthenticationError", "CredentialUnavailableError", "MsalServiceError", "AuthenticationError",
}  # fmt: skip
_UNREACHED = {
    "ConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "Timeout", "NewConnectionError", "MaxRetryError", "ProtocolError",
    "ServiceRequestError", "ServiceResponseError", "ClientRequestError", "ChunkedEncodingError", "ReadTimeoutError",
}  # fmt: skip
_OF_STORAGE = r"access the stream|AuthorizationPermissionMismatch|AuthorizationFailure|AuthenticationFailed|not authorized to perform this"
_OF_A_BLOB_STORE = re.compile(r"(?:\s+RequestId:\S+)?(?:\s+Time:\S+)?\s+ErrorCode:\w+.*")  # after what it says for people
WHERE_IT_IS = "Check the subscription, the resource group and the name of the workspace."

# The condition (the first that holds counts), the error of ours, its message after `what:`, its hint. A SettingsError's field is the
# caller's, else the compute target.
_TABLE: tuple[tuple[Callable[[_SdkError], object], type[StudioError], str, str], ...] = (
    (lambda e: e.says("Unable to get authority configuration"), WorkspaceUnavailable,  # MSAL's, whatever was answered there
     "the sign-in service gave an unexpected answer.", "Try again, and check the tenant's id."),
    (lambda e: e.says("quota"), SettingsError, "{message}", "Ask for more quota in the Azure portal, or use fewer nodes."),
    (lambda e: e.says("ComputeTargetNotFound") or (e.field in ("", "compute_target") and e.says("compute") and e.says("not found")),
     SettingsError, "{message}", "It may have been deleted: choose another compute target."),
    (lambda e: e.types & {"SSLError", "SSLCertVerificationError"}, WorkspaceUnavailable,
     "{message}", "Behind a proxy with a certificate of its own, name its CA file in SSL_CERT_FILE."),
    (lambda e: e.status is None and e.types & _UNREACHED and "CredentialUnavailableError" not in e.types, WorkspaceUnavailable,
     "Azure ML could not be reached. {message}", "Check the network, and HTTPS_PROXY behind a proxy."),  # also to sign in
    (lambda e: e.status == 401 or e.types & _OF_THE_SIGN_IN, WorkspaceUnavailable,
     "you are not signed in, or the sign-in has expired. {message}",
     "Sign in again: on the Connection page, by az login, or by the AZURE_ variables."),
    (lambda e: e.status == 403 and e.says("KeyBasedAuthenticationNotPermitted|key.based authentication is not permitted"),
     WorkspaceUnavailable, "the storage account takes no keys, by its owner's policy, and the datastore signs in by one. {message}",
     "Ask its owner to allow keys; or the workspace's owner for a datastore of identities, and the role Storage Blob Data Contributor."),
    (lambda e: e.status == 403 and e.says(_OF_STORAGE), WorkspaceUnavailable, "the storage account refuses it. {message}",
     "Ask its owner for the role Storage Blob Data Contributor, and whether it allows keys, and this machine through its firewall."),
    (lambda e: e.status == 403 or e.says("AuthorizationFailed"), WorkspaceUnavailable,
     "you have no permission. {message}",
     "Ask its owner for the role AzureML Data Scientist on the workspace, and for its storage account."),
    (lambda e: e.status == 404 and e.types & _OF_THE_WORKSPACE, NotFound, "{message}", WHERE_IT_IS),
    (lambda e: e.status == 404 or e.types & {"ModelNotFoundException", "ExperimentNotFoundException"}, NotFound,
     "{message}", "It may have been removed: refresh the list."),
    (lambda e: e.types & _OF_THE_WORKSPACE and e.status is None, WorkspaceUnavailable, "{message}", WHERE_IT_IS),
    (lambda e: e.says("create_new_version"), SettingsError,
     "the workspace has another dataset of this name, and took no new version of it.",
     "Choose another name. If it was registered at this moment, refresh the list and try again."),
    (lambda e: e.status == 409 and e.field, SettingsError, "{message}", "Choose another name."),
    (lambda e: e.status == 409, StudioError, "{message}", "It was changed at the same time: refresh and try again."),
    (lambda e: e.status == 429, WorkspaceUnavailable,
     "Azure still throttles the requests after all retries.", "Try again in some minutes."),
    (lambda e: (e.status or 0) >= 500, WorkspaceUnavailable,
     "Azure ML answered {status}. {message}", "Try again; status.azure.com lists outages."),
    (lambda e: (e.status or 0) >= 400 and e.field, SettingsError, "{message}", ""),
    (lambda e: True, StudioError, "{message}", ""),
)  # fmt: skip


# ---- translating -----------------------------------------------------------------------------------------------------------------


@contextmanager
def azure_errors(what: str, field: str = "") -> Iterator[None]:
    """Raise what the SDK raises as one of ours. `what` is the sentence's beginning: `The models can't be listed`. `field` is the setting
    whose value the service would refuse."""
    try:
        yield
    except StudioError:
        raise
    except Exception as error:  # of whatever class of the SDK: a bug of ours is raised again as it is
        if not _is_foreign(error):
            raise
        raise translated(error, what, field) from error


def _is_foreign(error: BaseException) -> bool:
    """Whether the SDK, or something below it, raised this: its type tells, or the place, since it raises bare Exceptions as well."""
    if type(error).__module__.partition(".")[0] in _FOREIGN:
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return (
        bool(frames) and re.search(r"site-packages[/\\](azureml|azure|msrest|requests|msal|urllib3)[/\\]", frames[-1].filename) is not None
    )


def translated(error: BaseException, what: str, field: str = "") -> StudioError:
    """Our error for a foreign one, by the table. `what` and `field` as in `azure_errors`."""
    foreign = _SdkError(message_of(error), status_of(error), {type(cause).__name__ for cause in _chain(error)}, field)
    kind, text, hint = next(row[1:] for row in _TABLE if row[0](foreign))
    said = _OF_A_BLOB_STORE.sub("", foreign.message)
    message = f"{what}: {text.format(message=said, status=foreign.status)}".strip()
    return SettingsError(field or "compute_target", message, hint) if issubclass(kind, SettingsError) else kind(message, hint)


class FailureKind(Enum):
    """Whether it helps to ask again after an error: see retry.py."""

    TRANSIENT = auto()  # Azure is busy, at fault or out of reach
    REFUSED = auto()  # the token is not accepted any more, there is no permission, or no reason is told
    FINAL = auto()


def failure_kind(error: StudioError) -> FailureKind:
    """Of an error that was translated here."""
    status = status_of(error)
    if isinstance(error, WorkspaceUnavailable):
        return FailureKind.REFUSED if status in (401, 403) else FailureKind.TRANSIENT
    return FailureKind.REFUSED if type(error) is StudioError and status is None else FailureKind.FINAL


def unless_not_found(function: Callable[[], T]) -> T | None:
    """What it returns; None where there is no such thing in the service. Some errors carry no status: a bare Exception (`Environment.get`),
    the data access's ExecutionError, and what `Dataset.get_by_name` raises."""
    try:
        return function()
    except Exception as error:  # its class says little
        without_status = type(error).__name__ in ("Exception", "ExecutionError", "UserErrorException")
        if status_of(error) == 404 or (without_status and re.search("not ?found|cannot find", str(error), re.IGNORECASE)):
            return None
        raise


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those it came from, in the SDK's own way of keeping them and in Python's."""
    seen: set[int] = set()
    pending: list[object] = [error]
    while pending:
        cause = pending.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            pending += [getattr(cause, "inner_exception", None), cause.__cause__, cause.__context__, *cause.args]


def retry_after(error: BaseException) -> float | None:
    """The seconds of the answer's Retry-After header; None where there is none."""
    for cause in _chain(error):
        seconds = getattr(getattr(cause, "response", None), "headers", {}).get("Retry-After", "")
        if str(seconds).replace(".", "", 1).isdecimal():
            return float(seconds)
    return None


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error came of, wherever it is kept; None where it came of none."""
    for cause in _chain(error):
        for holder in (cause, getattr(cause, "response", None)):
            status = getattr(holder, "status_code", None)
            if isinstance(status, int):
                return status
        if match := re.search(r"(?:Request failed \(|Response Code: |Code: |[Ss]tatus code:? |too many )(\d{3})\b", _text(cause)):
            return int(match[1])
        if "Authentication failed when trying to access the stream" in _text(cause):  # the data access's, of any refusal of storage
            return 403
    return None


def message_of(error: BaseException) -> str:
    """The service's or the SDK's message in one line of at most 500 characters, with nothing secret in it."""
    message = ""
    for cause in _chain(error):
        service_message = getattr(getattr(getattr(cause, "error", None), "error", None), "message", None)
        message = service_message if isinstance(service_message, str) and service_message else message or _body_message(cause)
    message = message or _text(error) or type(error).__name__
    if details := re.findall(r"\(x\) (.*?)\s*(?:\x1b|$)", message, re.DOTALL):  # SDK v2's own, among colours, headings and advice
        message = "; ".join(details)
    if match := re.search(r'"message":\s*"((?:[^"\\]|\\.)+)"', message):
        message = match[1]
    message = re.sub(r"^\(\w+\)\s+(.*?)\s+Code: \w+\s+Message: .*", r"\1", message, flags=re.DOTALL)  # azure-core's, which says it twice
    message = re.sub(r"^(\w+(Exception|Error):?\s*Message:|Request failed \(\d+\):)\s*", "", " ".join(message.split()))
    message = re.sub(r"\s*InnerException .*", "", message)
    message = re.sub(r"\s*For troubleshooting help, see: \S+(?: session_id=\S+)?", "", message)  # the data access's, with empty parts
    message = re.sub(r'\s*\b(?:Err|Ok)\((?:""|([^()]*))\)', lambda part: f" {part[1]}" if part[1] else "", message)
    message = _describe_unreachable(message)
    message = re.sub(r"\b(sig|client_secret|AccountKey|access_token)=[^&\s\"']+", r"\1=…", message)
    message = re.sub(r"Bearer [\w.~+/=-]+", "Bearer …", message)
    return message if len(message) <= 500 else message[:499] + "…"


_BROKEN = (
    r"HTTPS?Connection(?:Pool)?\(|ConnectionResetError\(|ProtocolError\(|RemoteDisconnected\(|Max retries exceeded|urllib3\.connection"
    r"|IncompleteRead\("
)
_REASONS = (
    (r"too many (\d{3}) error responses", "it keeps answering {}"),
    (r"Tunnel connection failed: (\d{3}[^'\")]*)", "the proxy refuses the connection: {}"),
    (r"NameResolutionError|Failed to resolve|getaddrinfo failed|Name or service not known", "its name can't be resolved"),
    (r"ProxyError|Unable to connect to proxy", "the proxy does not answer"),
    (r"certificate verify failed: ([^('\"]*[^('\"\s])", "its certificate is not trusted: {}"),
    (r"(?i)timed out|Timeout", "timeout"),
    (r"(?i)Connection refused", "it refuses the connection"),
    (r"(?i)aborted|reset by peer|RemoteDisconnected|IncompleteRead|forcibly closed", "the connection was lost"),
    (r"(?:Errno|WinError) -?\d+\] ([^'\")]+)", "{}"),
)


def _describe_unreachable(message: str) -> str:
    """What urllib3 says of a connection is the text of its objects: the host instead, and why it can't be reached."""
    if not re.search(_BROKEN, message):
        return message
    matches = (text.format(*match.groups()) for pattern, text in _REASONS if (match := re.search(pattern, message)))
    host = re.search(r"Failed to resolve '([^']+)'", message) or re.search(r"host='([^']+)'", message)
    reason = next(matches, "there is no connection")
    return f"{host[1]}: {reason}." if host else f"{reason[0].upper()}{reason[1:]}."


def _body_message(error: BaseException) -> str:
    """The message in the body of an answer, which not every client of the SDK reads: Pipelines' looks for `Error`, and it is `error`."""
    try:
        body = json.loads(getattr(getattr(error, "response", None), "text", "") or "{}")
        details = {key.lower(): value for key, value in body.items()}["error"]
        return str({key.lower(): value for key, value in details.items()}["message"] or "")
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""


def _text(error: BaseException) -> str:
    """`str(error)`, which azureml's ServiceException can't always give: where the service sent no details it raises TypeError."""
    message = getattr(error, "message", None)
    if isinstance(message, str) and message:
        return message
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - of whatever foreign class
        return type(error).__name__
