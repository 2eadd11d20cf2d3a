"""The SDK's errors as ours: its own real exceptions, made offline in the way that it makes them."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest

from services.azure.auth.sdk_errors import azure_errors, message_of, retry_after, run_status, status_of, translated
from services.domain import RunStatus
from services.errors import NotFound, SettingsError, StudioError, WorkspaceUnavailable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import requests
    from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
    from azureml._restclient.exceptions import ServiceException
    from azureml._restclient.models.error_response import ErrorResponseException
    from azureml.core import Environment
    from azureml.exceptions import (
        AuthenticationException,
        ComputeTargetException,
        ModelNotFoundException,
        UserErrorException,
        WebserviceException,
        WorkspaceException,
    )
    from msrest import Deserializer
    from msrest.exceptions import HttpOperationError

SIGNED = "https://st.blob.core.windows.net/c/f?se=2026&sp=r&sig=Abc%2Bdef%3D"


def answered(status: int, body: Any = None, **headers: str) -> requests.Response:
    response = requests.Response()
    response.status_code, response.reason = status, "Reason"
    response._content = json.dumps(body).encode() if body is not None else b""
    response.headers.update({"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()})
    return response


def service(status: int, message: str = "the service's words", **error: Any) -> ServiceException:
    """As the SDK's generated clients raise it."""
    body = {"error": {"code": "UserError", "message": message, "details": [], **error}}
    from azureml._restclient import models

    classes = {name: value for name, value in vars(models).items() if isinstance(value, type)}
    return ServiceException(ErrorResponseException(Deserializer(classes), answered(status, body)))


def test_an_unprintable_service_exception_is_translated():
    error = service(403, details=None)
    with pytest.raises(TypeError):
        str(error)
    ours = translated(error, "The models can't be listed")
    assert isinstance(ours, WorkspaceUnavailable)
    assert ours.message == "The models can't be listed: you have no permission. the service's words"


@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        (service(401), WorkspaceUnavailable, "not signed in", "Sign in again"),
        (service(403), WorkspaceUnavailable, "no permission", "AzureML Data Scientist"),
        (service(404), NotFound, "the service's words", "removed"),
        (service(403, "KeyBasedAuthenticationNotPermitted"), WorkspaceUnavailable, "takes no keys", "Storage Blob Data Contributor"),
        (service(403, "AuthorizationPermissionMismatch"), WorkspaceUnavailable, "storage account refuses", "Storage Blob Data Contributor"),
        (service(403, "AuthorizationFailed: The client does not have authorization to perform action 'write'"), WorkspaceUnavailable,
         "no permission", "AzureML Data Scientist"),
        (UserErrorException('There is already a dataset registered under name "d". Specify `create_new_version=True` to register the '
         "dataset as a new version."), SettingsError, "another dataset of this name", "another name"),
        (service(409), StudioError, "the service's words", "refresh"),
        (service(429), WorkspaceUnavailable, "throttles", "some minutes"),
        (service(500), WorkspaceUnavailable, "answered 500", "status.azure.com"),
        (service(400, "mini_batch_size is odd"), StudioError, "mini_batch_size is odd", ""),
        (service(400, "The requested 9 nodes exceed the quota of 4"), SettingsError, "quota", "more quota"),
        (service(404, "ComputeTargetNotFound: Compute cpu was not found"), SettingsError, "Compute cpu", "another compute target"),
        (WebserviceException("Received bad response", status_code=403), WorkspaceUnavailable, "no permission", "role"),
        (UserErrorException("Request failed (403): no"), WorkspaceUnavailable, "no permission. no", "role"),
        (ComputeTargetException("Received bad response:\nResponse Code: 500\nHeaders: {}"), WorkspaceUnavailable, "500", "again"),
        (ModelNotFoundException("ModelNotFound: no such model"), NotFound, "no such model", "removed"),
        (AuthenticationException("Could not retrieve user token."), WorkspaceUnavailable, "not signed in", "az login"),
        (ClientAuthenticationError("AADSTS7000215: Invalid client secret provided."), WorkspaceUnavailable, "AADSTS7000215", "Sign in"),
        (WorkspaceException("Workspace not found."), WorkspaceUnavailable, "Workspace not found.", "resource group"),
        (ServiceRequestError("Name or service not known"), WorkspaceUnavailable, "not be reached", "HTTPS_PROXY"),
        (requests.ConnectionError("Connection aborted."), WorkspaceUnavailable, "not be reached", "network"),
        (requests.exceptions.SSLError("certificate verify failed"), WorkspaceUnavailable, "certificate", "SSL_CERT_FILE"),
        (HttpOperationError(Deserializer(), answered(503)), WorkspaceUnavailable, "503", "again"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)  # fmt: skip
def test_an_sdk_error_becomes_ours_with_a_hint(error, kind, message, hint):
    ours = translated(error, "It can't be done")
    assert type(ours) is kind
    assert message in ours.message
    assert hint in ours.hint


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        (
            "ProxyError('Unable to connect to proxy', NewConnectionError('HTTPSConnection(host=a): [Errno 111] Connection refused'))",
            "the proxy does not answer.",
        ),
        (
            "ProxyError('Unable to connect', OSError('Tunnel connection failed: 403 Forbidden'))",
            "the proxy refuses the connection: 403 Forbidden.",
        ),
        ("NewConnectionError('<urllib3.connection.HTTPSConnection object at 0x7f>: [Errno 101] Network is unreachable')", "Network is un"),
        ("NameResolutionError(\"Failed to resolve 'x.ms' ([Errno -2] Name or service not known)\")", "its name can't be resolved."),
        ("ReadTimeoutError('Read timed out. (read timeout=3)')", "timeout."),
        ("Something('new')", "there is no connection."),
    ],
)
def test_the_reason_for_no_connection_is_plain_text(why, reason):
    text = f"HTTPSConnectionPool(host='x.ms', port=443): Max retries exceeded with url: /datasets?a=b (Caused by {why})"
    ours = translated(requests.exceptions.ProxyError(text), "The datasets can't be listed")
    assert ours.message.startswith(f"The datasets can't be listed: Azure ML could not be reached. x.ms: {reason}")
    assert "(" not in ours.message
    assert "Error" not in ours.message


def test_an_answer_that_was_cut_off_is_told_in_plain_text():
    why = "('Connection broken: IncompleteRead(6 bytes read, 7 more expected)', IncompleteRead(6 bytes read, 7 more expected))"
    ours = translated(requests.exceptions.ChunkedEncodingError(f"Error occurred in request., ChunkedEncodingError: {why}"), "No")
    assert ours.message == "No: Azure ML could not be reached. The connection was lost."


def test_a_status_is_known_where_urllib3_ended_the_retries():
    text = "HTTPSConnectionPool(host='x.ms', port=443): Max retries exceeded (Caused by ResponseError('too many {} error responses'))"
    busy, fault = (translated(requests.exceptions.RetryError(text.format(status)), "No") for status in (429, 503))
    assert busy.message == "No: Azure still throttles the requests after all retries."
    assert fault.message == "No: Azure ML answered 503. x.ms: it keeps answering 503."


def test_an_untrusted_certificate_is_reported_with_its_problem():
    why = "SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1000)')"
    text = f"HTTPSConnectionPool(host='x.ms', port=443): Max retries exceeded with url: / (Caused by SSLError({why}))"
    ours = translated(requests.exceptions.SSLError(text), "No")
    assert ours.message == "No: x.ms: its certificate is not trusted: self-signed certificate."


def test_a_refused_value_is_an_error_at_its_field():
    for status in (400, 409):
        ours = translated(service(status, "taken"), "Model m was not registered", "name")
        assert isinstance(ours, SettingsError)
        assert (ours.field, ours.message) == ("name", "Model m was not registered: taken")


def test_nothing_secret_is_shown_of_an_error():
    error = UserErrorException(f"Failed to read {SIGNED} with Bearer eyJ0.eyJ1.c2ln and client_secret=hunter2 or AccountKey=k==;x")
    message = message_of(error)
    assert not [secret for secret in ("Abc%2Bdef", "eyJ0", "hunter2", "k==") if secret in message]
    assert "https://st.blob.core.windows.net/c/f" in message


def test_a_long_error_is_cut_to_one_line():
    message = message_of(UserErrorException("words\n" * 1_000))
    assert len(message) == 500
    assert "\n" not in message


def test_the_status_is_found_wherever_it_is_kept():
    inner = HttpOperationError(Deserializer(), answered(418))
    outer = RuntimeError("outer")
    outer.__cause__ = inner
    errors = [inner, outer, UserErrorException("x", inner_exception=inner), ValueError("x")]
    assert [status_of(error) for error in errors] == [418, 418, 418, None]


def test_retry_after_is_read_from_the_answer():
    assert retry_after(HttpOperationError(Deserializer(), answered(429, Retry_After="7"))) == 7.0
    assert retry_after(HttpOperationError(Deserializer(), answered(429))) is None


def test_our_own_errors_are_not_translated():
    with pytest.raises(ZeroDivisionError), azure_errors("It can't be done"):
        1 / 0  # noqa: B018
    with pytest.raises(NotFound, match="ours"), azure_errors("It can't be done"):
        raise NotFound("ours")


def test_a_bare_exception_from_the_sdk_is_translated():
    with pytest.raises(StudioError, match=r"^It can't be done: "), azure_errors("It can't be done"):
        Environment.from_conda_specification("x", "/no/such/file.yml")


@pytest.mark.parametrize(
    ("sdk_status", "status"),
    [
        ("Finished", RunStatus.COMPLETED), ("Completed", RunStatus.COMPLETED), ("NotStarted", RunStatus.NOT_STARTED),
        ("Running", RunStatus.RUNNING), ("Failed", RunStatus.FAILED), ("Canceled", RunStatus.CANCELED), ("Queued", RunStatus.QUEUED),
        ("Preparing", RunStatus.QUEUED), ("CancelRequested", RunStatus.CANCEL_REQUESTED), ("SomethingNew", "SomethingNew"),
    ],
)  # fmt: skip
def test_the_sdk_s_statuses_are_translated(sdk_status, status):
    assert run_status(sdk_status) is status
