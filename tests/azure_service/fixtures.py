"""What tests of the Azure side share. One stand-in for all tests of a pytest process, a workspace of its own for each test."""

from __future__ import annotations

import itertools
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from services.azure.auth.session import skip_stack_traces
from tests.azure_service.faults import Seen
from tests.azure_service.service import AzureService

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Azure:
    """The stand-in as one test has it: its own workspace, and the service behind it."""

    service: AzureService
    workspace: str

    @property
    def environment(self) -> dict[str, str]:
        return self.service.environment(self.workspace)

    @property
    def requests(self) -> list[Seen]:
        return self.service.requests


@pytest.fixture(scope="session")
def azure_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureService]:
    """The stand-in, started once. Tests take `azure`."""
    with AzureService(tmp_path_factory.mktemp("azure")) as service:
        with pytest.MonkeyPatch.context() as variables, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the SDK's own
            for name, value in service.environment().items():
                variables.setenv(name, value)
            skip_stack_traces()  # also for tests that use the SDK without us
        yield service


@pytest.fixture
def azure(azure_service: AzureService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Azure]:
    """The stand-in with an empty workspace for this test, and this process led to it. Whatever it was asked that it doesn't support fails
    the test, by name."""
    azure_service.clear()
    own = Azure(azure_service, f"ws-{next(_numbers)}")
    azure_service.add_workspace(own.workspace)
    for name, value in own.environment.items():
        monkeypatch.setenv(name, value)
    yield own
    unknown = azure_service.unknown_routes
    azure_service.clear()
    azure_service.set_token_seconds(3600)
    for thread in threading.enumerate():
        if thread.name == "azure-lists":  # what it still asks is not of the next test
            thread.join(60)
    if unknown:
        pytest.fail("The stand-in does not support these requests, or failed:\n" + "\n".join(unknown), pytrace=False)
