"""The five ways to sign in, each as far as a listed model and an uploaded dataset: the SDK's own calls, and those of its Rust part."""

from __future__ import annotations

import json
import os
import shlex
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import FileIO
from pathlib import Path

import pytest

from services.azure.auth.token_relay import TokenReceiver
from services.azure.catalog.datasets import Datasets
from services.azure.sdk import Sdk
from services.azure.sdk_v1.session import Session
from services.azure.sdks import sdk_of
from services.connection import Connection, SignIn, from_environment
from services.errors import WorkspaceUnavailable
from services.intake.datasets import DatasetOptions

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own
ARM = "https://management.core.windows.net"


@pytest.fixture
def place(azure, tmp_path) -> Connection:
    """The test's workspace, without a sign-in, and none in the surroundings."""
    return replace(from_environment(tmp_path), secret="", client_id="", sign_in=SignIn.AZURE_CLI)


@pytest.fixture
def works(csv_folder, tmp_path) -> Callable[[Sdk], bool]:
    def holds(sdk: Sdk) -> bool:
        staging = tmp_path / f"staging-{len(list(tmp_path.iterdir()))}"
        staging.mkdir()
        files = csv_folder(2, f"of-{staging.name}")
        if sdk.models.all():
            return False
        return Datasets(sdk, tmp_path / "d").register("d", files, DatasetOptions(), staging, lambda done, of: None).file_count == 2

    return holds


@pytest.fixture
def token(azure) -> str:
    """One that the service takes."""
    import requests

    who = {"client_id": os.environ["AZURE_CLIENT_ID"], "client_secret": os.environ["AZURE_CLIENT_SECRET"]}
    form = who | {"grant_type": "client_credentials", "scope": "https://management.core.windows.net//.default"}
    where = f"https://login.microsoftonline.com/{os.environ['AZURE_TENANT_ID']}/oauth2/v2.0/token"
    return str(requests.post(where, data=form, timeout=60).json()["access_token"])


def test_a_service_principal(azure, works, tmp_path):
    assert works(sdk_of(from_environment(tmp_path)))


def test_a_device_code_signs_in_and_its_token_is_relayed_to_runners(place, works, azure):
    messages: list[str] = []

    def tell(sentence: str) -> None:
        messages.append(sentence)
        azure.service.confirm_device_code(sentence.rsplit(maxsplit=1)[-1])

    sdk = sdk_of(replace(place, sign_in=SignIn.DEVICE_CODE), tell)
    assert works(sdk)
    assert len(messages) == 1
    assert messages[0].startswith("Open https://microsoft.com/devicelogin and enter the code ")
    relayed = Connection.from_pipe(sdk.session.runner_connection().to_pipe())
    assert works(sdk_of(relayed, lambda sentence: pytest.fail(f"it asked: {sentence}")))
    written = [path.read_text(errors="replace") for path in Path(os.environ["HOME"]).rglob("*") if path.is_file()]
    assert not [text for text in written if next(iter(relayed.tokens.values())) in text]


def test_a_token_that_can_not_be_renewed_for_runners_is_an_error_of_ours(place, works, azure):
    azure.service.set_token_seconds(3)  # so short that it is renewed at each use
    sdk = sdk_of(replace(place, sign_in=SignIn.DEVICE_CODE), lambda text: azure.service.confirm_device_code(text.rsplit(maxsplit=1)[-1]))
    assert works(sdk)
    azure.service.fault("POST *oauth2*token*", status=400, code="invalid_grant", count=None)
    with pytest.raises(WorkspaceUnavailable, match="access token"):
        sdk.session.runner_connection()


def test_a_person_at_a_browser(place, works, monkeypatch):
    import requests

    def visit(address: str, *_: object) -> bool:
        threading.Thread(target=lambda: requests.get(address, timeout=60)).start()
        return True

    monkeypatch.setattr("webbrowser.open", visit)
    assert works(sdk_of(replace(place, sign_in=SignIn.INTERACTIVE)))


def test_the_azure_cli_wherever_it_is_installed(place, works, token, tmp_path, monkeypatch):
    """`AzureCliAuthentication` of the SDK wants azure-cli in its own environment; people have it as a program."""
    answer = {"accessToken": token, "expiresOn": "2099-01-01 00:00:00.000000", "subscription": "s", "tenant": "t", "tokenType": "Bearer"}
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "az").write_text(f"#!/bin/sh\necho {shlex.quote(json.dumps(answer))}\n")
    (tmp_path / "bin" / "az").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert works(sdk_of(place))


@pytest.fixture
def managed_identity(token, monkeypatch) -> Iterator[list[str]]:
    """What a virtual machine in Azure has at a local address; the questions it was asked."""
    requests_seen: list[str] = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests_seen.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(
                json.dumps({"access_token": token, "expires_on": "4070908800", "token_type": "Bearer", "resource": ARM}).encode()
            )

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MSI_ENDPOINT", f"http://127.0.0.1:{server.server_port}/oauth2/token")
        yield requests_seen
        server.shutdown()


def test_a_managed_identity(place, works, managed_identity):
    assert works(sdk_of(replace(place, sign_in=SignIn.MANAGED_IDENTITY, client_id="of-the-user")))
    assert all("client_id=of-the-user" in question for question in managed_identity)


def test_an_azure_cli_without_a_sign_in_is_reported(place, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "az").write_text("#!/bin/sh\necho 'ERROR: Please run az login to setup account.' >&2\nexit 1\n")
    (tmp_path / "bin" / "az").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(WorkspaceUnavailable, match="not signed in") as refused:
        Session(place).client  # noqa: B018 - signs in
    assert "az login" in refused.value.message + refused.value.hint


def test_a_service_principal_without_a_secret_is_not_tried(place, azure):
    azure.service.clear()
    session = Session(replace(place, sign_in=SignIn.SERVICE_PRINCIPAL, client_id="somebody"))
    with pytest.raises(WorkspaceUnavailable, match="no secret for the service principal somebody"):
        session.client  # noqa: B018 - signs in
    assert azure.requests == []


def test_a_runner_s_token_is_replaced_while_its_sender_is_there(place):
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb", buffering=0) as sender, FileIO(reading) as stdin:
        sender.write(f"{replace(place, tokens={ARM: 'first'}).to_pipe()}\n".encode())
        receiver = TokenReceiver(stdin)
        tokens = receiver.connection.tokens
        assert tokens[ARM] == "first"
        threading.Timer(0.05, sender.write, [f"{replace(place, tokens={ARM: 'second'}).to_pipe()}\n".encode()]).start()
        assert receiver.wait(20)
        assert tokens[ARM] == "second"
        threading.Timer(0.05, sender.close).start()
        assert not receiver.wait(20)
        assert not receiver.wait(20)
