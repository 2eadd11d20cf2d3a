"""The retry policy: which failures are retried, how often, and after which waits."""

from __future__ import annotations

import warnings

import pytest

from services.azure.auth import retry
from services.azure.auth.sdk_errors import azure_errors
from services.errors import NotFound, SettingsError, StudioError, WorkspaceUnavailable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import requests


def refused(status: int, **headers: str) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return requests.HTTPError(str(status), response=response)


@pytest.fixture
def attempts():
    """`attempts(policy, *failures)` is the outcome of a call that fails so, in turn, and then returns "done", with the waits."""

    def call(policy, *failures):
        remaining, waits = list(failures), []

        def function():
            with azure_errors("It can't be done"):
                if remaining:
                    raise remaining.pop(0)
                return "done"

        try:
            outcome = retry.call(policy, function, lambda _, seconds: waits.append(seconds))
        except StudioError as error:
            outcome = type(error)
        return outcome, waits

    return call


def test_a_busy_or_unreachable_service_is_retried_with_growing_waits(attempts):
    failures = [refused(503), refused(500), requests.ConnectionError("Connection aborted.")]
    assert attempts(retry.DASHBOARD, *failures) == ("done", [0.5, 2.0, 8.0])
    assert attempts(retry.DASHBOARD, *failures, refused(503)) == (WorkspaceUnavailable, [0.5, 2.0, 8.0])
    assert attempts(retry.RUNNER, *[refused(503)] * 9) == ("done", [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0])


def test_retry_after_is_waited_for_up_to_a_minute(attempts):
    assert attempts(retry.DASHBOARD, refused(429, Retry_After="7"), refused(429, Retry_After="700")) == ("done", [7.0, 60.0])


def test_a_command_gives_up_where_the_wait_takes_too_long(attempts):
    assert attempts(retry.COMMAND, refused(429, Retry_After="31")) == (WorkspaceUnavailable, [])


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_not_retried_in_the_dashboard(attempts, status):
    assert attempts(retry.DASHBOARD, refused(status))[1] == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_runner_is_refused_three_times(attempts, status):
    assert attempts(retry.RUNNER, *[refused(status)] * 2) == ("done", [1.0, 2.0])
    assert attempts(retry.RUNNER, *[refused(status)] * 3) == (WorkspaceUnavailable, [1.0, 2.0])


@pytest.mark.parametrize(
    ("failure", "kind"), [(refused(404), NotFound), (refused(400), StudioError), (SettingsError("f", "m"), SettingsError)]
)
def test_what_the_service_refuses_to_do_is_final(attempts, failure, kind):
    assert attempts(retry.RUNNER, failure) == (kind, [])
