"""A signed-in workspace of an SDK, opened once, when it is first used: by the dashboard, a command, or the runner of a run."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, redirect_stdout
from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar

from services import environment_variables
from services.azure.auth import retry
from services.azure.auth.credentials import Credential
from services.azure.auth.sdk_errors import azure_errors, status_of
from services.azure.auth.throttling import notify_when_throttled
from services.connection import Connection
from services.errors import WorkspaceUnavailable

C = TypeVar("C")

logger = logging.getLogger(__name__)

# requests and MSAL read either spelling; rslex, which moves datasets for SDK v1, reads the first of each pair only, and SDK v2 the second.
# With a certificate authority that it does not know, an upload hangs instead of failing.
_SPELLINGS = (("https_proxy", "HTTPS_PROXY"), ("no_proxy", "NO_PROXY"), ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"))

_THEIR_OWN = r"(azureml|azure|msrest|msrestazure|applicationinsights|ruamel|adal|msal|paramiko|knack|marshmallow|opentelemetry)(\.|$)"
"""The modules whose deprecation warnings nobody here can fix."""


class Session(ABC, Generic[C]):
    """One client of an SDK, opened when it is first used. Safe to use from several threads; cheap to make. `credential` is azure-identity's
    of who is signed in, with which the client was opened.

    `notify` is called with what a person should know meanwhile: the address and code of a device code sign-in; that Azure is busy and the
    call is retried, and "" once that is over.
    """

    credential: Credential
    audience = "https://management.azure.com"
    """Of the tokens that the workspace's services take."""
    discovery_url: str
    """Where the addresses of these are."""
    _region: str

    def __init__(self, connection: Connection, notify: Callable[[str], None] = print, *, of_a_command: bool = False) -> None:
        """`of_a_command` is for a program of one thread that somebody waits for: what the SDK prints is kept from standard output, and
        where Azure stays busy it gives up within a minute."""
        self.connection = connection
        self._of_a_command = of_a_command
        self.retries = retry.COMMAND if of_a_command else retry.DASHBOARD  # for a call that the SDK doesn't retry by itself
        self._notify, self._throttle_notice = notify, partial(notify_when_throttled, notify, self.retries.max_seconds)
        self._lock = threading.Lock()
        self._client: C | None = None

    @abstractmethod
    def _open(self) -> C:
        """Import the SDK, sign in by the credential, and set `_region`. Called with the lock held; may raise what the SDK raises, and
        ImportError."""

    def region(self) -> str:
        """Where the workspace is: `westeurope`. Raises as `sdk_calls`."""
        with self.sdk_calls("You are not signed in"):
            return self._region

    @property
    def is_open(self) -> bool:
        """Whether somebody is signed in, without waiting for who is just signing in."""
        return self._client is not None

    @property
    def client(self) -> C:
        """The SDK's client, signed in. Takes seconds the first time. Raises WorkspaceUnavailable."""
        with self._lock:
            if self._client is None:
                prepare_environment()
                warnings.filterwarnings("ignore", module=_THEIR_OWN)
                place = self.connection
                with self._throttle_notice(), azure_errors(f"The workspace {place.location} can't be opened"):
                    try:
                        self.credential = Credential(place, self._notify)
                        self._client = self._open()
                    except ImportError as error:
                        hint = f"Set it up again: make setup. A wheel needs its extra: batch-scoring-studio[{place.workspace}]."
                        raise WorkspaceUnavailable(f"The Azure ML SDK is not there: {error}.", hint) from error
                logger.info("Signed in to %s by %s", place.location, place.sign_in)
            return self._client

    @contextmanager
    def sdk_calls(self, what: str, field: str = "") -> Iterator[C]:
        """The open client, for calls of the SDK, whose errors are raised as ours: see `azure_errors` for `what` and `field`."""
        with _SILENCE if self._of_a_command else nullcontext(), self._throttle_notice(), azure_errors(what, field):
            try:
                yield self.client
            except Exception as error:  # whatever class of the SDK: it is raised again
                if status_of(error) == 401:  # the token is not accepted any more: the next call signs in again
                    with self._lock:
                        self._client = None
                raise

    def changing(self, what: str, of: str) -> AbstractContextManager[C]:
        """As `sdk_calls`, for calls that change `what` people say of a model, dataset or run: its `name`, `note` or `tags`."""
        return self.sdk_calls(f"The {what} of {of} {'were' if what == 'tags' else 'was'} not changed", what)

    def runner_connection(self) -> Connection:
        """The connection for a runner, which can't ask a person: with access tokens where only a person could get them. Raises
        WorkspaceUnavailable."""
        if not self.connection.sign_in.asks_a_person:
            return self.connection
        with self.sdk_calls("There is no access token for the run"):
            return replace(self.connection, tokens=self.credential.tokens())


class _Silence:
    """Nothing reaches standard output, whoever writes to it in this process. Threads may overlap: the first begins it, the last ends it."""

    def __init__(self) -> None:
        self._lock, self._open, self._stack = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._open:
                sys.stdout.flush()
                stdout = os.dup(1)
                self._stack.callback(os.close, stdout)
                self._stack.callback(os.dup2, stdout, 1)
                devnull = self._stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                os.dup2(devnull.fileno(), 1)
                self._stack.enter_context(redirect_stdout(devnull))
            self._open += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._open -= 1
            if not self._open:
                self._stack.close()


_SILENCE = _Silence()


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """For an import of two thousand modules, all of which stay: looking for garbage meanwhile takes a seventh of its time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def prepare_environment() -> None:
    """Set the standard proxy and certificate variables in both spellings, for this process and its children."""
    for first, second in _SPELLINGS:
        for missing, given in ((first, second), (second, first)):
            if environment_variables.value(given) and not environment_variables.value(missing):
                os.environ[missing] = environment_variables.value(given)
