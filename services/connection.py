"""Which Azure ML workspace, by which SDK, and how to sign in. Plain values: nothing here imports an SDK or uses the network.

A secret is in the memory of this process, in its environment, in the system's keyring, or on a pipe to a runner;
never on disk, on a command line, in a log or on a page.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from services import environment_variables, log
from services.errors import SettingsError, WorkspaceUnavailable
from services.storage.atomic import write_atomically

logger = logging.getLogger(__name__)

KEYRING_SERVICE = "batch-scoring-studio"
_REMEMBERED = "connection.json"
SDKS = {"v1": "azure", "v2": "azure-v2"}
"""The SDKs of Azure ML, with the name of a workspace by each."""
SUPPORT_ENDED = {"v1": "2026-06-30"}
"""When Microsoft's support for an SDK ended."""
_PLACE = {"subscription_id": "subscription", "resource_group": "resource group", "workspace_name": "workspace name"}
"""The fields that say which workspace, as messages call them."""


class SignIn(StrEnum):
    """The ways to sign in, by their names on Microsoft's pages."""

    INTERACTIVE = "interactive"
    DEVICE_CODE = "device code"
    AZURE_CLI = "Azure CLI"
    SERVICE_PRINCIPAL = "service principal"
    MANAGED_IDENTITY = "managed identity"

    @property
    def asks_a_person(self) -> bool:
        """Whether signing in needs somebody at a browser, so that a runner can't do it by itself."""
        return self in (SignIn.INTERACTIVE, SignIn.DEVICE_CODE)


@dataclass(frozen=True)
class Connection:
    """A workspace and a way to sign in to it. `client_id` and `secret` are the service principal's; `client_id` alone may name a
    user-assigned managed identity. `tokens` are access tokens by audience, for a runner that can't ask anybody. `sdk` is one of SDKS."""

    subscription_id: str
    resource_group: str
    workspace_name: str
    sign_in: SignIn = SignIn.AZURE_CLI
    tenant_id: str = ""
    client_id: str = ""
    secret: str = field(default="", repr=False)
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    sdk: str = "v1"

    def __post_init__(self) -> None:
        if self.sdk not in SDKS:
            raise SettingsError("sdk", f"there is no SDK “{self.sdk[:100]}”", f"Choose one of {', '.join(SDKS)}.")
        for name, label in _PLACE.items():
            value = getattr(self, name).strip()
            object.__setattr__(self, name, value)
            if not value:
                raise SettingsError(name, f"no {label} is given", "The workspace's page in Azure ML studio shows it; so does config.json.")
            if not re.fullmatch(r"[-\w.()]{1,90}", value):  # it becomes part of an address and of a folder's name
                raise SettingsError(name, f"“{value[:100]}” is not a {label}", "Use letters, digits and - _ . ( ) only.")
        if self.sign_in is SignIn.SERVICE_PRINCIPAL:
            for name, label in (("tenant_id", "tenant"), ("client_id", "client id")):
                if not getattr(self, name):
                    text = f"a service principal needs tenant, client id and secret: the {label} is missing"
                    raise SettingsError(name, text, f"Give it here, or set {_VARIABLE[name]}.")

    @property
    def workspace(self) -> str:
        """What a workspace by this SDK is called: `azure`, `azure-v2`."""
        return SDKS[self.sdk]

    @property
    def location(self) -> str:
        """For people: subscription / resource group / workspace."""
        return f"{self.subscription_id} / {self.resource_group} / {self.workspace_name}"

    def home(self, base: Path) -> Path:
        """This workspace's own home below the local home `base`: its registry, its runs. Another one for each SDK: a dataset may have
        other versions there."""
        return base / self.workspace / self.subscription_id.lower() / self.resource_group.lower() / self.workspace_name.lower()

    # ---- to a runner --------------------------------------------------------------------------------------------------------

    def to_pipe(self) -> str:
        """One line of JSON with everything, the secret too: for a runner's standard input only."""
        return json.dumps(asdict(self))

    @classmethod
    def from_pipe(cls, line: str) -> Connection:
        """What `to_pipe` or `remember` wrote. Raises ValueError, KeyError, TypeError or SettingsError for anything else."""
        values = json.loads(line)
        return cls(**values | {"sign_in": SignIn(values["sign_in"])})

    # ---- from one start of the dashboard to the next ----------------------------------------------------------------------------

    def without_secrets(self) -> dict[str, str]:
        return {name: value for name, value in asdict(self).items() if name not in ("secret", "tokens")}

    def remember(self, base: Path) -> None:
        """Keep the choice, without anything secret."""
        (base / "azure").mkdir(parents=True, exist_ok=True)
        write_atomically(base / "azure" / _REMEMBERED, json.dumps(self.without_secrets(), indent=1))

    def keep_secret(self) -> None:
        """Put the service principal's secret into the system's keyring. Raises SettingsError where there is none."""
        import keyring
        from keyring.errors import KeyringError

        try:
            keyring.set_password(KEYRING_SERVICE, f"{self.tenant_id}/{self.client_id}", self.secret)
        except KeyringError as error:
            raise SettingsError("secret", f"the keyring can't store it: {error}", "Set AZURE_CLIENT_SECRET instead.") from error

    def with_secret(self) -> Connection:
        """With the secret from the environment or the keyring, where it has none of its own."""
        if self.sign_in is not SignIn.SERVICE_PRINCIPAL or self.secret:
            return self
        return replace(self, secret=secret_of(self.tenant_id, self.client_id))


_PLACE = {"subscription_id": "subscription", "resource_group": "resource group", "workspace_name": "workspace name"}
"""What names a workspace, with a word for people."""

_VARIABLE = {
    "subscription_id": "AZURE_SUBSCRIPTION_ID",
    "resource_group": "AZURE_RESOURCE_GROUP",
    "workspace_name": "AZURE_WORKSPACE_NAME",
    "tenant_id": "AZURE_TENANT_ID",
    "client_id": "AZURE_CLIENT_ID",
    "secret": "AZURE_CLIENT_SECRET",
}


def secret_of(tenant_id: str, client_id: str) -> str:
    """The secret of a service principal, from the environment where it is that one's, else from the keyring; "" where neither has it."""
    if environment_variables.value("AZURE_CLIENT_ID") in ("", client_id) and (secret := environment_variables.value("AZURE_CLIENT_SECRET")):
        return secret
    kept = None
    with log.suppress(logger, "The keyring can't be read", Exception):  # each of its backends has errors of its own
        import keyring

        kept = keyring.get_password(KEYRING_SERVICE, f"{tenant_id}/{client_id}")
    return kept or ""


def read_config_json(start: Path | None = None) -> dict[str, str]:
    """Subscription, resource group and name from the `config.json` that the SDK's `Workspace.from_config` would find: in `start` or a
    folder above it, there or in `.azureml/` or `aml_config/`; {} where there is none. Raises SettingsError for one that can't be read."""
    folder = (start or Path.cwd()).absolute()
    for parent in (folder, *folder.parents):
        for place in (".azureml", "aml_config", ""):
            path = parent / place / "config.json"
            if path.is_file():
                try:
                    values = json.loads(path.read_text(encoding="utf-8"))
                    return {name: str(values[name]) for name in _PLACE}
                except (OSError, ValueError, KeyError, TypeError) as error:
                    text = f"{path} does not name a workspace: {type(error).__name__} {error}"
                    raise SettingsError("workspace", text, "Download it again from the workspace's page in Azure ML studio.") from error
    return {}


def from_environment(start: Path | None = None, *, sdk: str = "v1") -> Connection:
    """The workspace, by this SDK, and the sign-in of the command line: AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP and
    AZURE_WORKSPACE_NAME, else a `config.json`; the service principal of AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, else the
    Azure CLI where it is signed in, else interactively. Raises WorkspaceUnavailable where no workspace is named.
    """
    named = {name: environment_variables.value(_VARIABLE[name]) for name in _PLACE}
    place = named if all(named.values()) else read_config_json(start) | {name: value for name, value in named.items() if value}
    if set(place) < set(named):
        missing = ", ".join(_VARIABLE[name] for name in named if name not in place)
        text = f"No Azure ML workspace is named: {missing} is not set, and there is no config.json."
        hint = "Set AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP and AZURE_WORKSPACE_NAME, or put the workspace's config.json here."
        raise WorkspaceUnavailable(text, hint)
    where = (place["subscription_id"], place["resource_group"], place["workspace_name"])
    tenant, client, secret = (environment_variables.value(_VARIABLE[name]) for name in ("tenant_id", "client_id", "secret"))
    if tenant and client and (secret := secret or secret_of(tenant, client)):
        return Connection(*where, sign_in=SignIn.SERVICE_PRINCIPAL, tenant_id=tenant, client_id=client, secret=secret, sdk=sdk)
    sign_in = SignIn.AZURE_CLI if _azure_cli_is_signed_in() else SignIn.INTERACTIVE
    return Connection(*where, sign_in=sign_in, tenant_id=tenant, sdk=sdk)


def _azure_cli_is_signed_in() -> bool:
    """Whether `az` is installed and somebody is signed in. It reads its own files, not the network."""
    with suppress(OSError, subprocess.TimeoutExpired):
        if az := shutil.which("az"):
            az_show = subprocess.run([az, "account", "show"], capture_output=True, stdin=subprocess.DEVNULL, timeout=30, check=False)
            return az_show.returncode == 0
    return False


def suggested(base: Path) -> dict[str, str]:
    """The values to fill the connection form with: what was chosen last, and where that has nothing the environment's; never a secret."""
    named = {name: environment_variables.value(variable) for name, variable in _VARIABLE.items() if name != "secret"}
    named = {name: value for name, value in named.items() if value}
    if known := remembered(base):
        return named | {name: value for name, value in known.without_secrets().items() if value}
    place: dict[str, str] = {}
    with suppress(SettingsError):
        place = read_config_json()
    has_secret = "client_id" in named and environment_variables.value("AZURE_CLIENT_SECRET")
    by_variables = SignIn.SERVICE_PRINCIPAL if has_secret else SignIn.INTERACTIVE
    return place | named | {"sign_in": by_variables}


def is_remembered(base: Path) -> bool:
    return (base / "azure" / _REMEMBERED).exists()


def remembered(base: Path) -> Connection | None:
    try:
        return Connection.from_pipe((base / "azure" / _REMEMBERED).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, SettingsError):
        return None


def forget(base: Path) -> None:
    """The next start of the dashboard opens the local workspace."""
    (base / "azure" / _REMEMBERED).unlink(missing_ok=True)
