"""Our nouns and the SDK's objects, each from the other; and the SDK's errors as ours, translated here and nowhere else.

What the SDK raises was seen by making it fail: its own exceptions, msrest's, azure-core's, those of requests, of the Rust data access (as
`ExecutionError`), and bare `Exception`.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from services.domain import RunStatus
from services.errors import NotFound, SettingsError, StudioError, WorkspaceUnavailable

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


def run_status(word: str) -> RunStatus:
    """A status of a run, a pipeline run or a step run in the SDK's word; one that is not known is a run that goes on."""
    known = _STATUSES.get(word)
    if known is None:
        known = RunStatus(word) if word in list(RunStatus) else RunStatus.RUNNING
    return known


def moment(text: str | None) -> datetime | None:
    """A time as the service writes it: UTC where it doesn't say, with up to seven digits of a second; None for what is none."""
    try:
        told = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return told if told.tzinfo else told.replace(tzinfo=UTC)


# ---- errors ----------------------------------------------------------------------------------------------------------------------


@contextmanager
def azure_errors(what: str, field: str = "") -> Iterator[None]:
    """Raise what the SDK raises as one of ours. `what` is the sentence's beginning: `The models can't be listed`. `field` is the setting
    whose value the service would refuse."""
    try:
        yield
    except StudioError:
        raise
    except Exception as error:
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
    """The error of ours that says the same, with what to do."""
    said, status = message_of(error), status_of(error)
    names = {type(each).__name__ for each in _chain(error)}
    if "Unable to get authority configuration" in said:  # MSAL's, whatever was answered there
        return WorkspaceUnavailable(f"{what}: the sign-in service did not answer as it should.", "Try again, and check the tenant's id.")
    of_the_workspace = bool(names & {"WorkspaceException", "ProjectSystemException"})
    lower = said.lower()
    if "quota" in lower:
        return SettingsError(field or "compute_target", f"{what}: {said}", "Ask for more quota in the Azure portal, or use fewer nodes.")
    if "computetargetnotfound" in lower or ("compute" in lower and "not found" in lower and field in ("", "compute_target")):
        return SettingsError("compute_target", f"{what}: {said}", "It may have been deleted: choose another compute target.")
    if names & {"SSLError", "SSLCertVerificationError"}:
        return WorkspaceUnavailable(f"{what}: {said}", "Is there a proxy with a certificate of its own? Name its CA file in SSL_CERT_FILE.")
    if status == 401 or names & {
        "AuthenticationException",
        "ClientAuthenticationError",
        "CredentialUnavailableError",
        "MsalServiceError",
        "AuthenticationError",
    }:
        text = f"{what}: you are not signed in, or the sign-in has expired. {said}"
        return WorkspaceUnavailable(text.strip(), "Sign in again: on the Connection page, by az login, or by the AZURE_ variables.")
    if status == 403 or "AuthorizationFailed" in said:
        hint = "Ask its owner for the role AzureML Data Scientist on the workspace, and for its storage account."
        return WorkspaceUnavailable(f"{what}: you have no permission. {said}".strip(), hint)
    if status == 404 or names & {"ModelNotFoundException", "ExperimentNotFoundException"}:
        hint = _WHERE_IT_IS if of_the_workspace else "It may have been removed: look at the list again."
        return NotFound(f"{what}: {said or 'it is not there'}", hint)
    if of_the_workspace and status is None:
        return WorkspaceUnavailable(f"{what}: {said}", _WHERE_IT_IS)
    if status == 409:
        if field:
            return SettingsError(field, f"{what}: {said}", "Choose another name.")
        return StudioError(f"{what}: {said}", "Somebody changed it at the same time: look again.")
    if status == 429:
        return WorkspaceUnavailable(f"{what}: Azure asks for fewer requests, also after waiting.", "Try again in some minutes.")
    if status is not None and status >= 500:
        return WorkspaceUnavailable(f"{what}: Azure ML answered {status}. {said}".strip(), "Try again; status.azure.com tells of outages.")
    if status is not None and status >= 400:
        return SettingsError(field, f"{what}: {said}") if field else StudioError(f"{what}: {said}", "")
    if names & _UNREACHED:
        return WorkspaceUnavailable(f"{what}: Azure ML could not be reached. {said}", "Check the network, and HTTPS_PROXY behind a proxy.")
    return StudioError(f"{what}: {said}", "")


_WHERE_IT_IS = "Check the subscription, the resource group and the name of the workspace."
_UNREACHED = {
    "ConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "Timeout", "NewConnectionError", "MaxRetryError", "ProtocolError",
    "ServiceRequestError", "ServiceResponseError", "ClientRequestError", "ChunkedEncodingError", "ReadTimeoutError",
}  # fmt: skip


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those it came from, in the SDK's own way of keeping them and in Python's."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [getattr(each, "inner_exception", None), each.__cause__, each.__context__, *each.args]


def retry_after(error: BaseException) -> float | None:
    """How many seconds the service asks to wait before it is asked again; None where it does not say."""
    for each in _chain(error):
        said = getattr(getattr(each, "response", None), "headers", {}).get("Retry-After", "")
        if str(said).replace(".", "", 1).isdecimal():
            return float(said)
    return None


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error came of, wherever it is kept; None where it came of none."""
    for each in _chain(error):
        for holder in (each, getattr(each, "response", None)):
            status = getattr(holder, "status_code", None)
            if isinstance(status, int):
                return status
        if match := re.search(r"(?:Request failed \(|Response Code: |Code: |[Ss]tatus code:? |too many )(\d{3})\b", _text(each)):
            return int(match[1])
    return None


def message_of(error: BaseException) -> str:
    """One line of what the service or the SDK said, with nothing secret in it."""
    said = ""
    for each in _chain(error):
        inner = getattr(getattr(getattr(each, "error", None), "error", None), "message", None)  # the service's own words
        said = inner if isinstance(inner, str) and inner else said or _answered(getattr(each, "response", None))
    said = said or _text(error)
    if match := re.search(r'"message":\s*"((?:[^"\\]|\\.)+)"', said):
        said = match[1]
    said = re.sub(r"^(\w+(Exception|Error):?\s*Message:|Request failed \(\d+\):)\s*", "", " ".join(said.split()))
    said = re.sub(r"\s*InnerException .*", "", said)
    said = _describe_unreachable(said)
    said = re.sub(r"\b(sig|client_secret|AccountKey|access_token)=[^&\s\"']+", r"\1=…", said)
    said = re.sub(r"Bearer [\w.~+/=-]+", "Bearer …", said)
    return said if len(said) <= 500 else said[:499] + "…"


_BROKEN = (
    r"HTTPS?Connection(?:Pool)?\(|ConnectionResetError\(|ProtocolError\(|RemoteDisconnected\(|Max retries exceeded|urllib3\.connection"
)
_WHY = (
    (r"too many (\d{3}) error responses", "it answers {} again and again"),
    (r"Tunnel connection failed: (\d{3}[^'\")]*)", "the proxy refuses it with {}"),
    (r"ProxyError", "the proxy does not answer"),
    (r"certificate verify failed: ([^('\"]*[^('\"\s])", "its certificate is not trusted: {}"),
    (r"NameResolutionError|Failed to resolve|getaddrinfo failed|Name or service not known", "its name is not known here"),
    (r"(?i)timed out|Timeout", "no answer came in time"),
    (r"(?i)Connection refused", "it refuses the connection"),
    (r"(?i)aborted|reset by peer|RemoteDisconnected|forcibly closed", "the connection broke off"),
    (r"(?:Errno|WinError) -?\d+\] ([^'\")]+)", "{}"),
)


def _describe_unreachable(said: str) -> str:
    """What urllib3 says of a connection is the text of its objects: the host, and why there is no answer from it, in words."""
    if not re.search(_BROKEN, said):
        return said
    found = next(
        (words.format(*match.groups()) for pattern, words in _WHY if (match := re.search(pattern, said))), "there is no connection"
    )
    host = re.search(r"host='([^']+)'", said)
    return f"{host[1] if host else 'Its address'}: {found}."


def _answered(response: object) -> str:
    """The message in the body of an answer, which not every client of the SDK reads: Pipelines' looks for `Error`, and it is `error`."""
    try:
        told = {key.lower(): value for key, value in json.loads(getattr(response, "text", "") or "{}").items()}
        return str({key.lower(): value for key, value in told["error"].items()}["message"] or "")
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
