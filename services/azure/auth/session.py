"""A signed-in workspace of the SDK, opened once, when it is first used: by the dashboard, a command, or the runner of a run."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from services import environment_variables
from services.azure.auth import retry
from services.azure.auth.sdk_errors import azure_errors, is_sign_in_expired
from services.azure.auth.throttling import notify_when_throttled
from services.connection import Connection, SignIn
from services.errors import WorkspaceUnavailable

if TYPE_CHECKING:
    from azureml.core import Workspace as SdkWorkspace
    from azureml.core.authentication import AbstractAuthentication

T = TypeVar("T")

logger = logging.getLogger(__name__)

AUDIENCE = "https://management.core.windows.net/"
"""What the SDK asks tokens for; the same one opens the workspace's own services."""

# requests and MSAL read either spelling; rslex, which moves datasets, reads the first of each pair only. With a certificate authority that
# it does not know, an upload hangs instead of failing.
_SPELLINGS = (("https_proxy", "HTTPS_PROXY"), ("no_proxy", "NO_PROXY"), ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"))

_THEIR_OWN = r"(azureml|azure|msrest|msrestazure|applicationinsights|ruamel|adal|msal|paramiko|knack)(\.|$)"
"""The modules whose deprecation warnings nobody here can fix."""


class Session:
    """One `azureml.core.Workspace`, opened when it is first used. Safe to use from several threads; cheap to make.

    `notify` is called with what a person should know meanwhile: the address and code of a device code sign-in; that Azure is busy and the
    call is retried, and "" once that is over.
    """

    def __init__(self, connection: Connection, notify: Callable[[str], None] = print, *, of_a_command: bool = False) -> None:
        """`of_a_command` is for a program of one thread that somebody waits for: what the SDK prints (Python and Rust) is kept from
        standard output, and where Azure stays busy it gives up within a minute."""
        self.connection = connection
        self._of_a_command = of_a_command
        self._policy = retry.COMMAND if of_a_command else retry.DASHBOARD
        self._notify = notify
        self._lock = threading.Lock()
        self._workspace: SdkWorkspace | None = None
        self._authentication: AbstractAuthentication | None = None

    @property
    def is_open(self) -> bool:
        """Whether somebody is signed in, without waiting for who is just signing in."""
        return self._workspace is not None

    @property
    def workspace(self) -> SdkWorkspace:
        """The SDK's workspace, signed in. Takes seconds the first time. Raises WorkspaceUnavailable."""
        with self._lock:
            if self._workspace is None:
                self._workspace = self._open()
            return self._workspace

    def _open(self) -> SdkWorkspace:
        prepare_environment()
        place = self.connection
        warnings.filterwarnings("ignore", module=_THEIR_OWN)
        if self._of_a_command:
            retry.shorten_sdk_backoff()
        with self._throttle_notice(), azure_errors(f"The workspace {place.location} can't be opened"):
            try:
                with _without_garbage_collection():
                    from azureml.core import Workspace as SdkWorkspace

                skip_stack_traces()
            except ImportError as error:
                raise WorkspaceUnavailable(f"The Azure ML SDK is not there: {error}.", "Set the program up again: make setup.") from error
            self._authentication = authentication(place, self._notify)
            opened = SdkWorkspace.get(
                place.workspace_name,
                auth=self._authentication,
                subscription_id=place.subscription_id,
                resource_group=place.resource_group,
            )
            logger.info("Signed in to %s by %s", place.location, place.sign_in)
            return opened

    def _throttle_notice(self) -> AbstractContextManager[None]:
        return notify_when_throttled(self._notify, self._policy.max_seconds)

    @contextmanager
    def sdk_calls(self, what: str, field: str = "") -> Iterator[SdkWorkspace]:
        """The open workspace, for calls of the SDK, whose errors are raised as ours: see `azure_errors` for `what` and `field`."""
        with _silenced() if self._of_a_command else nullcontext(), self._throttle_notice(), azure_errors(what, field):
            try:
                yield self.workspace
            except Exception as error:  # whatever class of the SDK: it is raised again
                if is_sign_in_expired(error):  # the next call signs in anew
                    with self._lock:
                        self._workspace = None
                raise

    def with_retries(self, what: str, function: Callable[[SdkWorkspace], T]) -> T:
        """What `function` returns of the open workspace, retried where Azure is busy or out of reach. For those clients of the SDK that
        don't retry by themselves, as most do. Raises as `sdk_calls`."""

        def attempt() -> T:
            with self.sdk_calls(what) as workspace:
                return function(workspace)

        return retry.call(self._policy, attempt)

    def runner_connection(self) -> Connection:
        """The connection for a runner, which can't ask a person: with an access token where only a person could get one. Raises
        WorkspaceUnavailable."""
        if not self.connection.sign_in.asks_a_person:
            return self.connection
        with self.sdk_calls("There is no access token for the run"):
            assert self._authentication
            return replace(self.connection, tokens={AUDIENCE: self._authentication._get_arm_token()})


@contextmanager
def _silenced() -> Iterator[None]:
    """Nothing reaches standard output, whoever writes to it in this process."""
    sys.stdout.flush()
    stdout = os.dup(1)
    with open(os.devnull, "w", encoding="utf-8") as devnull:
        os.dup2(devnull.fileno(), 1)
        try:
            with redirect_stdout(devnull):
                yield
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """For an import of two thousand modules, all of which stay: looking for garbage meanwhile takes a seventh of its time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def skip_stack_traces() -> None:
    """The SDK's data access notes the stack of each of its calls for telemetry that goes nowhere. That takes about 20 ms, longer than most
    calls: where a frame belongs to no module, as below `python -m`, it looks through all that are loaded."""
    from azureml.dataprep.api._loggerfactory import _LoggerFactory

    _LoggerFactory.get_stack = staticmethod(lambda limit=3, start=1: "")


def prepare_environment() -> None:
    """Set the standard proxy and certificate variables in both spellings, for this process and its children."""
    for first, second in _SPELLINGS:
        for missing, given in ((first, second), (second, first)):
            if environment_variables.value(given) and not environment_variables.value(missing):
                os.environ[missing] = environment_variables.value(given)


def authentication(connection: Connection, notify: Callable[[str], None]) -> AbstractAuthentication:
    """The SDK's authentication for this way of signing in. `notify` gets what the person has to do. Raises WorkspaceUnavailable.

    A person's sign-in is azure-identity's, whose tokens stay in memory: the SDK's own InteractiveLoginAuthentication writes them to
    ~/.azureml/auth, and its AzureCliAuthentication wants azure-cli installed in this very environment.
    """
    from azureml.core.authentication import MsiAuthentication, ServicePrincipalAuthentication

    if connection.tokens:
        return _token_authentication(lambda audience: connection.tokens.get(audience) or connection.tokens[AUDIENCE])
    if connection.sign_in is SignIn.SERVICE_PRINCIPAL:
        principal = connection.with_secret()
        if not principal.secret:
            text = f"There is no secret for the service principal {principal.client_id}."
            raise WorkspaceUnavailable(text, "Give it on the Connection page, or set AZURE_CLIENT_SECRET.")
        return ServicePrincipalAuthentication(principal.tenant_id, principal.client_id, principal.secret, cloud=_cloud())
    if connection.sign_in is SignIn.MANAGED_IDENTITY:
        return MsiAuthentication(cloud=_cloud(), identity_config={"client_id": connection.client_id} if connection.client_id else None)
    credential = _credential(connection, notify)
    return _token_authentication(lambda audience: credential.get_token(audience.rstrip("/") + "/.default").token)


def _credential(connection: Connection, notify: Callable[[str], None]) -> Any:
    from azure.identity import AzureCliCredential, DeviceCodeCredential, InteractiveBrowserCredential

    tenant: dict[str, Any] = {"tenant_id": connection.tenant_id} if connection.tenant_id else {}
    if connection.sign_in is SignIn.AZURE_CLI:
        return AzureCliCredential(**tenant)
    if connection.sign_in is SignIn.DEVICE_CODE:
        return DeviceCodeCredential(
            prompt_callback=lambda address, code, _until: notify(f"Open {address} and enter the code {code}"), timeout=600, **tenant
        )
    notify("A browser window opens on the machine where this program runs: sign in there.")
    return InteractiveBrowserCredential(timeout=600, **tenant)


def _cloud() -> str:
    """AzureCloud, or the one in the SDK's own variable. Given explicitly, since the SDK would look it up on the web."""
    return environment_variables.value("AZUREML_CURRENT_CLOUD") or "AzureCloud"


def _token_authentication(token: Callable[[str], str]) -> AbstractAuthentication:
    from azureml.core.authentication import TokenAuthentication

    class Tokens(TokenAuthentication):  # type: ignore[misc]
        """TokenAuthentication lacks the two that other parts of the SDK ask for."""

        def _get_azureml_client_token(self) -> str:
            return token(AUDIENCE)

        def get_token(self, *_scopes: object, **_more: object) -> Any:
            from azureml.core.authentication import AccessToken, _get_exp_time

            text = token(AUDIENCE)
            return AccessToken(text, int(_get_exp_time(text)))

    return Tokens(token, cloud=_cloud())
