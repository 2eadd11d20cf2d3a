"""Which Azure ML workspace, and how to sign in: plain values, no network, no SDK."""

from __future__ import annotations

import json
import os
import stat
import sys

import keyring
import pytest
from keyring.backend import KeyringBackend

from services import connection as connections
from services.azure.auth import session
from services.azure.auth.session import prepare_environment
from services.connection import Connection, SignIn, from_environment, read_config_json, remembered, secret_of, suggested
from services.errors import SettingsError, WorkspaceUnavailable

PLACE = {"subscription_id": "0000-aa", "resource_group": "rg", "workspace_name": "ws"}
PRINCIPAL = {"tenant_id": "tenant", "client_id": "client"}
SECRET = "s3cr3t-of-the-test"


class InMemory(KeyringBackend):
    """A keyring that ends with the test."""

    priority = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """No variable of Azure, no az, no config.json, an empty keyring."""
    for name in list(os.environ):
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path)
    before = keyring.get_keyring()
    keyring.set_keyring(InMemory())
    yield monkeypatch
    keyring.set_keyring(before)


def name_the_workspace(monkeypatch):
    for name, value in zip(("SUBSCRIPTION_ID", "RESOURCE_GROUP", "WORKSPACE_NAME"), PLACE.values(), strict=True):
        monkeypatch.setenv(f"AZURE_{name}", value)


def az(tmp_path, code: int) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "az").write_text(f"#!/bin/sh\nexit {code}\n")
    (tmp_path / "bin" / "az").chmod(stat.S_IRWXU)


def test_the_workspace_is_named_by_variables(surroundings):
    name_the_workspace(surroundings)
    assert from_environment().location == "0000-aa / rg / ws"


@pytest.mark.parametrize("folder", [".", ".azureml", "aml_config"])
def test_the_workspace_is_named_by_the_sdk_s_config_json(surroundings, tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "config.json").write_text(json.dumps(PLACE))
    (tmp_path / "deep" / "er").mkdir(parents=True)
    assert read_config_json(tmp_path / "deep" / "er") == PLACE
    assert from_environment().location == "0000-aa / rg / ws"
    name_the_workspace(surroundings)
    surroundings.setenv("AZURE_WORKSPACE_NAME", "another")
    assert from_environment().workspace_name == "another"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"subscription_id": "x"}', "\x00"])
def test_an_invalid_config_json_is_refused_by_its_path(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(SettingsError, match=r"config\.json"):
        from_environment()


def test_without_a_workspace_the_error_says_how_to_name_one():
    with pytest.raises(WorkspaceUnavailable, match="AZURE_SUBSCRIPTION_ID") as refused:
        from_environment()
    assert "config.json" in refused.value.hint


def test_the_sign_in_is_by_secret_else_azure_cli_else_interactive(surroundings, tmp_path):
    name_the_workspace(surroundings)
    assert from_environment().sign_in is SignIn.INTERACTIVE
    az(tmp_path, 0)
    assert from_environment().sign_in is SignIn.AZURE_CLI
    for name, value in zip(("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"), (*PRINCIPAL.values(), SECRET), strict=True):
        surroundings.setenv(f"AZURE_{name}", value)
    assert from_environment().sign_in is SignIn.SERVICE_PRINCIPAL


def test_an_azure_cli_without_a_sign_in_is_ignored(surroundings, tmp_path):
    name_the_workspace(surroundings)
    az(tmp_path, 1)
    assert from_environment().sign_in is SignIn.INTERACTIVE


@pytest.mark.parametrize("name", PLACE)
@pytest.mark.parametrize("value", ["", "  ", "a/b", "../x", "a b", "<b>", "x" * 91, "a\nb"])
def test_an_invalid_workspace_is_refused_at_its_field(name, value):
    with pytest.raises(SettingsError) as refused:
        Connection(**PLACE | {name: value})
    assert refused.value.field == name


@pytest.mark.parametrize("name", PRINCIPAL)
def test_a_service_principal_needs_its_tenant_and_its_id(name):
    with pytest.raises(SettingsError) as refused:
        Connection(**PLACE, sign_in=SignIn.SERVICE_PRINCIPAL, **PRINCIPAL | {name: ""})
    assert refused.value.field == name


def test_a_secret_is_neither_shown_nor_written_to_disk(tmp_path):
    connection = Connection(**PLACE, sign_in=SignIn.SERVICE_PRINCIPAL, **PRINCIPAL, secret=SECRET, tokens={"a": SECRET})
    connection.remember(tmp_path)
    assert SECRET not in repr(connection)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET in path.read_text(errors="replace")]
    again = remembered(tmp_path)
    assert again
    assert (again.location, again.sign_in, again.secret) == (connection.location, SignIn.SERVICE_PRINCIPAL, "")
    assert SECRET not in str(suggested(tmp_path))


def test_the_form_suggests_what_was_chosen_then_the_variables(surroundings, tmp_path):
    for name in ("TENANT_ID", "CLIENT_ID", "WORKSPACE_NAME"):
        surroundings.setenv(f"AZURE_{name}", "of the environment")
    Connection(**PLACE, sign_in=SignIn.MANAGED_IDENTITY, client_id="of the machine").remember(tmp_path)
    chosen = PLACE | {"sign_in": SignIn.MANAGED_IDENTITY, "client_id": "of the machine", "sdk": "v1"}
    assert suggested(tmp_path) == chosen | {"tenant_id": "of the environment"}


def test_the_secret_is_in_the_keyring_or_the_environment(surroundings):
    connection = Connection(**PLACE, sign_in=SignIn.SERVICE_PRINCIPAL, **PRINCIPAL, secret=SECRET)
    assert secret_of(**PRINCIPAL) == ""
    connection.keep_secret()
    assert Connection(**PLACE, sign_in=SignIn.SERVICE_PRINCIPAL, **PRINCIPAL).with_secret().secret == SECRET
    surroundings.setenv("AZURE_CLIENT_SECRET", "of the environment")
    assert secret_of(**PRINCIPAL) == "of the environment"
    surroundings.setenv("AZURE_CLIENT_ID", "somebody else")
    assert secret_of(**PRINCIPAL) == SECRET


def test_a_runner_gets_the_whole_connection_over_its_pipe():
    connection = Connection(**PLACE, sign_in=SignIn.SERVICE_PRINCIPAL, **PRINCIPAL, secret=SECRET, tokens={"audience": "token"}, sdk="v2")
    line = connection.to_pipe()
    assert "\n" not in line
    assert Connection.from_pipe(line) == connection


def test_each_workspace_has_a_home_of_its_own(tmp_path):
    homes = {Connection(**PLACE | {name: value}).home(tmp_path) for name in PLACE for value in ("one", "two")}
    assert len(homes) == 6
    assert Connection(**PLACE, sdk="v2").home(tmp_path) == tmp_path / "azure-v2/0000-aa/rg/ws"
    assert Connection(**PLACE | {"workspace_name": "WS"}).home(tmp_path) == Connection(**PLACE).home(tmp_path)  # as Azure has it


def test_an_sdk_is_v1_or_v2():
    with pytest.raises(SettingsError, match=r"there is no SDK “\.\./v3”") as refused:
        Connection(**PLACE, sdk="../v3")
    assert refused.value.field == "sdk"


def test_a_connection_remembered_before_there_was_a_choice_is_by_sdk_v1(tmp_path):
    chosen = Connection(**PLACE, sdk="v2")
    chosen.remember(tmp_path)
    assert remembered(tmp_path) == chosen
    without = {name: value for name, value in chosen.without_secrets().items() if name != "sdk"}
    (tmp_path / "azure" / "connection.json").write_text(json.dumps(without))
    assert remembered(tmp_path) == Connection(**PLACE)


def test_the_chosen_workspace_is_forgotten_on_request(tmp_path):
    Connection(**PLACE).remember(tmp_path)
    assert connections.is_remembered(tmp_path)
    connections.forget(tmp_path)
    assert (connections.is_remembered(tmp_path), remembered(tmp_path)) == (False, None)


@pytest.mark.parametrize("content", ["", "{", '{"sign_in": "magic"}', "[]"])
def test_an_unreadable_remembered_connection_is_ignored(tmp_path, content):
    (tmp_path / "azure").mkdir()
    (tmp_path / "azure" / "connection.json").write_text(content)
    assert remembered(tmp_path) is None


@pytest.mark.parametrize(
    ("given", "also"), [("HTTPS_PROXY", "https_proxy"), ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), ("no_proxy", "NO_PROXY")]
)
def test_proxy_and_certificate_variables_are_set_in_both_spellings(surroundings, given, also):
    for name in ("HTTPS_PROXY", "https_proxy", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "no_proxy", "NO_PROXY"):
        surroundings.delenv(name, raising=False)
    surroundings.setenv(given, "http://127.0.0.1:1")
    surroundings.setenv(also, "")  # taken away again with the test
    prepare_environment()
    assert os.environ[also] == "http://127.0.0.1:1"


def test_standard_output_is_there_again_after_two_threads_kept_it_silent():
    before, first, second = sys.stdout, session._SILENCE, session._SILENCE
    first.__enter__()
    second.__enter__()
    first.__exit__()
    assert sys.stdout is not before
    second.__exit__()
    assert sys.stdout is before
    assert not sys.stdout.closed
