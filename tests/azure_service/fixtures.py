"""What tests of the Azure side share. One stand-in for all tests of a pytest process, a workspace of its own for each test."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from services.azure.sdk_v1.session import skip_stack_traces
from services.storage import run_process
from tests import warm_processes
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
    with AzureService(tmp_path_factory.mktemp("azure")) as service, ExitStack() as stack:
        with pytest.MonkeyPatch.context() as variables, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the SDK's own
            for name, value in service.environment().items():
                variables.setenv(name, value)
            skip_stack_traces()  # also for tests that use the SDK without us
            service.runner_python = [sys.executable]
            if hasattr(os, "fork"):  # a runner need not import the SDK
                socket = tmp_path_factory.mktemp("warm") / "socket"
                service.runner_python = stack.enter_context(contextmanager(warm_processes.started)(str(socket)))
        yield service


@contextmanager
def led_to(service: AzureService, workspace: str) -> Iterator[Azure]:
    """This process led to a workspace of the stand-in, which is made when there is none of that name. Whatever the stand-in was asked that
    it doesn't support fails the test, by name."""
    service.clear()
    own = Azure(service, workspace)
    service.add_workspace(workspace)
    with pytest.MonkeyPatch.context() as variables:
        for name, value in own.environment.items():
            variables.setenv(name, value)
        variables.setattr(run_process, "PYTHON", service.runner_python)
        yield own
    unknown = service.unknown_routes
    service.clear()
    service.set_token_seconds(3600)
    for thread in threading.enumerate():
        if thread.name == "azure-lists":  # what it still asks is not of the next test
            thread.join(60)
    if unknown:
        pytest.fail("The stand-in does not support these requests, or failed:\n" + "\n".join(unknown), pytrace=False)


@pytest.fixture
def azure(azure_service: AzureService) -> Iterator[Azure]:
    """The stand-in with an empty workspace for this test, and this process led to it."""
    with led_to(azure_service, f"ws-{next(_numbers)}") as own:
        yield own
