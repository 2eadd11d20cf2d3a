"""What SDK v2 registers and lists, on the stand-in: models, datasets, environments, compute targets, by the unmodified azure-ai-ml."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import pytest
import yaml

from services import PROJECT_ROOT
from services.azure.auth.token_relay import TokenReceiver
from services.azure.catalog import downloads, uploads
from services.azure.catalog.datasets import Datasets as SharedDatasets
from services.azure.catalog.environments import conda_file
from services.azure.catalog.mltables import mltable
from services.azure.catalog.model_properties import properties_of
from services.azure.sdk import Image, NewDataset, Sdk
from services.azure.sdk_v2.computes import Computes
from services.azure.sdk_v2.datasets import Datasets
from services.azure.sdk_v2.environments import Environments
from services.azure.sdk_v2.models import Models
from services.azure.sdk_v2.parts import sdk_v2
from services.azure.sdk_v2.session import Session
from services.azure.sdk_v2.storage import blobs_at, store
from services.azure.workspace import AzureWorkspace
from services.connection import SignIn, from_environment
from services.domain import FileDataset, TabularDataset, utc_now
from services.errors import NotFound, SettingsError, StudioError, WorkspaceUnavailable
from services.handover.azure_packages import conda_of
from services.intake.datasets import DatasetOptions
from services.intake.requirement_lists import from_packages
from services.intake.tabular import CSV, PARQUET, Table
from services.remote import SERVERLESS

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own

HOSTILE = ["../x", "a/b", "", "a b", "x\ny", "=cmd", "a:b", "<b>", "a%2fb", "-x", "ü", "a" * 256, "?x"]


def silent(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


@pytest.fixture
def session(azure, tmp_path) -> Session:
    return Session(from_environment(tmp_path, sdk="v2"), of_a_command=True)


@pytest.fixture
def models(session) -> Models:
    return Models(session)


@pytest.fixture
def datasets(session) -> Datasets:
    return Datasets(session)


@pytest.fixture
def environments(session) -> Environments:
    return Environments(session)


@pytest.fixture
def model_folder(tmp_path) -> Path:
    """Of ten files in two folders, one of them empty."""
    folder = tmp_path / "My model (v1.0)"
    for number in range(10):
        path = folder / f"part {number % 2}" / f"{number} ü%20.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000 * number)
    return folder


def register(models: Models, path: Path, name: str = "clf", **about: Any) -> Any:
    about = {"description": "", "tags": {}, "progress": silent} | about
    return models.register(name, path, properties_of(path), **about)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- signing in ------------------------------------------------------------------------------------------------------------------


def test_signing_in_tells_the_region_and_asks_once(session, azure):
    assert not session.is_open
    assert session.region() == "westeurope"
    assert session.is_open
    before = len(azure.requests)
    session.region()
    assert len(azure.requests) == before


def test_a_service_principal_without_a_secret_is_told_to_give_one(azure, tmp_path, monkeypatch):
    connection = from_environment(tmp_path, sdk="v2")
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    monkeypatch.setattr("keyring.get_password", lambda *_: None)  # whatever this machine keeps
    with pytest.raises(WorkspaceUnavailable, match="no secret for the service principal"):
        Session(replace(connection, secret="")).region()


def test_a_wrong_secret_says_so_in_one_line(azure, tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong-secret-of-a-test")
    with pytest.raises(WorkspaceUnavailable) as refused:
        Session(from_environment(tmp_path, sdk="v2")).region()
    assert "not signed in" in refused.value.message
    assert "\n" not in refused.value.message
    assert "wrong-secret-of-a-test" not in refused.value.message


def test_a_workspace_that_is_not_there_says_where_to_look(azure, tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_WORKSPACE_NAME", "nowhere")
    with pytest.raises(NotFound) as missing:
        Session(from_environment(tmp_path, sdk="v2")).region()
    assert "nowhere" in missing.value.message
    assert "name of the workspace" in missing.value.hint


def test_a_command_prints_nothing_of_the_sdk_s_own(azure, tmp_path):
    """Neither what is asked, nor a refusal that is ours to tell; whatever warnings are shown."""
    script = """
import sys
from pathlib import Path
from services.azure.sdk_v2.computes import Computes
from services.azure.sdk_v2.models import Models
from services.azure.sdk_v2.parts import sdk_v2
from services.azure.sdk_v2.session import Session
from services.connection import from_environment
from services.errors import NotFound
session = Session(from_environment(Path.cwd(), sdk="v2"), of_a_command=True)
print(len(Computes(session).datastores()))
try:
    Models(session).fetch("none:1", Path.cwd())
except NotFound as error:
    print(error)
"""
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT)}
    ran = subprocess.run([sys.executable, "-W", "always", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)  # noqa: PLW1510
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == ["2", "Model none:1 can't be fetched: Models none:1 was not found."]


def test_a_runner_signs_in_by_the_tokens_that_a_person_s_sign_in_relays(azure, tmp_path):
    person = replace(from_environment(tmp_path, sdk="v2"), sign_in=SignIn.DEVICE_CODE, client_id="", secret="")
    session = Session(person, lambda text: azure.service.confirm_device_code(text.rsplit(maxsplit=1)[-1]))
    session.region()
    relayed = session.runner_connection()
    assert set(relayed.tokens) == {"https://management.azure.com", "https://ml.azure.com"}
    line = relayed.to_pipe()
    read, write = os.pipe()
    with os.fdopen(write, "wb", buffering=0) as sender, os.fdopen(read, "rb", buffering=0) as receiver:
        sender.write(f"{line}\n".encode())
        received = TokenReceiver(receiver).connection
        azure.service.clear()
        assert [store.name for store in Computes(Session(received)).datastores()] == ["workspaceblobstore", "workspaceartifactstore"]
        assert azure.service.count("POST *login*token*") == 0


def token_for(resource: str) -> dict[str, str]:
    """What Microsoft's sign-in gives a person who asks for a resource."""
    import requests

    form = {"client_id": os.environ["AZURE_CLIENT_ID"], "client_secret": os.environ["AZURE_CLIENT_SECRET"]}
    form |= {"grant_type": "client_credentials", "scope": f"{resource.rstrip('/')}/.default"}
    where = f"https://login.microsoftonline.com/{os.environ['AZURE_TENANT_ID']}/oauth2/v2.0/token"
    return dict(requests.post(where, data=form, timeout=60).json())


AZ = f"""import json, sys
sys.path.insert(0, {str(PROJECT_ROOT)!r})
from tests.azure.test_v2_catalog import token_for
named = dict(zip(sys.argv, sys.argv[1:]))
token = token_for(named.get("--resource") or named["--scope"].removesuffix("/.default"))["access_token"]
print(json.dumps({{"accessToken": token, "expiresOn": "2099-01-01 00:00:00.000000", "tokenType": "Bearer"}}))
"""


def test_the_azure_cli_signs_in_wherever_it_is_installed(azure, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "az.py").write_text(AZ)
    program = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(tmp_path / "az.py"))} "$@"\n'  # either may have a space
    (tmp_path / "bin" / "az").write_text(program)
    (tmp_path / "bin" / "az").chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    place = replace(from_environment(tmp_path, sdk="v2"), sign_in=SignIn.AZURE_CLI, client_id="", secret="")
    assert Session(place).region() == "westeurope"


def test_a_person_signs_in_at_a_browser(azure, tmp_path, monkeypatch):
    import requests

    def visit(address: str, *_: object) -> bool:
        threading.Thread(target=lambda: requests.get(address, timeout=60)).start()
        return True

    monkeypatch.setattr("webbrowser.open", visit)
    place = replace(from_environment(tmp_path, sdk="v2"), sign_in=SignIn.INTERACTIVE, client_id="", secret="")
    assert Session(place).region() == "westeurope"


def test_a_managed_identity_signs_in(azure, tmp_path, monkeypatch):
    asked = []

    class Endpoint(BaseHTTPRequestHandler):
        """What a machine in Azure has at a local address."""

        def do_POST(self) -> None:
            asked.append(dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode())))
            resource = asked[-1]["resource"]
            given = {"access_token": token_for(resource)["access_token"], "resource": resource}
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(given | {"expires_on": "4070908800", "token_type": "Bearer"}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MSI_ENDPOINT", f"http://127.0.0.1:{server.server_port}/oauth2/token")
        place = replace(from_environment(tmp_path, sdk="v2"), sign_in=SignIn.MANAGED_IDENTITY, client_id="of-the-user", secret="")
        assert Session(place).region() == "westeurope"
        server.shutdown()
    assert all(question["client_id"] == "of-the-user" for question in asked)


def test_an_access_token_that_ended_asks_for_a_new_sign_in(azure, session):
    Computes(session).datastores()
    azure.service.expire_tokens()
    with pytest.raises(WorkspaceUnavailable, match="sign-in has expired"):
        Computes(session).datastores()
    assert len(Computes(session).datastores()) == 2  # signs in again


def test_a_command_gives_up_where_azure_stays_busy(azure, session):
    session.region()
    azure.service.fault("GET *computes*", count=None, status=429, retry_after=3600)
    with pytest.raises(WorkspaceUnavailable, match="throttles the requests"):
        Computes(session).targets()


# ---- names -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_would_lead_elsewhere_is_refused_before_anything_is_asked(azure, session, models, datasets, name, tmp_path):
    session.region()
    azure.service.clear()
    (tmp_path / "m.bin").write_bytes(b"x")
    for call in (
        lambda: models.fetch(f"{name}:1", tmp_path),
        lambda: models.delete(f"{name}:1"),
        lambda: register(models, tmp_path / "m.bin", name),
        lambda: datasets.unregister(f"{name}:1"),
        lambda: datasets.register(NewDataset(name, "https://x/y")),
        lambda: datasets.describe(f"{name}:1", note="x"),
        lambda: Computes(session).cluster(name),
        lambda: Environments(session).register(name, conda_of("3.11", [])),
        lambda: models.training_run_files("exp", name),
    ):
        with pytest.raises(SettingsError):
            call()
    assert azure.requests == []


# ---- models ----------------------------------------------------------------------------------------------------------------------


def test_a_folder_is_registered_as_it_is_and_comes_back_so(models, model_folder, tmp_path):
    made = register(models, model_folder, description="text", tags={"a b": "c=d"})
    assert (made.reference, made.description, dict(made.tags)) == ("clf:1", "text", {"a b": "c=d"})
    assert made.size == 45_000
    there = models.fetch("clf:1", tmp_path / "fetched")
    assert there.name == model_folder.name
    assert contents(there) == contents(model_folder)


@pytest.mark.parametrize("name", ["m.bin", "My model (2).joblib", "a#b%20c?.bin", "=cmd|x.pkl", "ü.onnx"])
def test_a_file_of_any_name_is_registered_and_comes_back(models, tmp_path, name):
    (tmp_path / name).write_bytes(b"weights")
    register(models, tmp_path / name)
    assert models.fetch("clf:1", tmp_path / "fetched").read_bytes() == b"weights"


def test_an_mlflow_model_is_registered_as_one(models, ml, tmp_path):
    folder = tmp_path / "model.v2"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n")
    register(models, folder)
    assert ml.models.get("clf", "1").type == "mlflow_model"
    assert contents(models.fetch("clf:1", tmp_path / "fetched")) == contents(folder)


def test_all_versions_of_all_models_are_listed_newest_first(models, model_file, azure):
    for name in ("clf", "other", "clf"):
        register(models, model_file, name)
    azure.service.set_page_size(1, azure.workspace)
    assert [model.reference for model in models.all()] == ["clf:2", "other:1", "clf:1"]


def test_a_model_s_properties_are_known_on_another_machine(models, model_file, tmp_path):
    made = register(models, model_file)
    assert made.sha256
    assert Models(Session(from_environment(tmp_path, sdk="v2"))).all() == [made]


def test_a_model_of_sdk_v1_is_listed_and_fetched(models, ws, tmp_path):
    from azureml.core import Model

    (tmp_path / "m.bin").write_bytes(b"by v1")
    Model.register(ws, "m.bin", "theirs", description="text", tags={"a": "b"})
    (model,) = models.all()
    assert (model.reference, model.kind, model.sha256, model.size) == ("theirs:1", "registered elsewhere", "", None)
    assert (model.description, dict(model.tags)) == ("text", {"a": "b"})
    assert models.fetch("theirs:1", tmp_path / "fetched").read_bytes() == b"by v1"


def test_the_same_content_is_sent_once_and_is_another_version(models, model_folder, azure):
    register(models, model_folder)
    azure.service.clear()
    assert register(models, model_folder).version == 2
    assert azure.service.count("PUT *blob.core.windows.net*") == 0


def test_an_upload_shows_its_progress_to_the_end(models, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "CHUNK_BYTES", 40_000)
    (tmp_path / "m.bin").write_bytes(os.urandom(100_000))
    seen = []
    register(models, tmp_path / "m.bin", progress=lambda here, of: seen.append((here, of)))
    assert seen == [(40_000, 100_000), (80_000, 100_000), (100_000, 100_000)]


def test_an_upload_that_broke_off_goes_on_where_it_was(models, tmp_path, azure, monkeypatch):
    monkeypatch.setattr(uploads, "CHUNK_BYTES", 40_000)
    (tmp_path / "m.bin").write_bytes(os.urandom(200_000))
    azure.service.fault("PUT *comp=blocklist*", status=403)
    with pytest.raises(StudioError):
        register(models, tmp_path / "m.bin")
    assert models.all() == []
    azure.service.clear()
    register(models, tmp_path / "m.bin")
    assert azure.service.count("PUT *comp=block&*") == 0
    assert models.fetch("clf:1", tmp_path / "fetched").read_bytes() == (tmp_path / "m.bin").read_bytes()


def test_a_folder_of_which_one_file_is_refused_ends_and_registers_nothing(models, model_folder, azure):
    azure.service.fault("PUT *part 1/7*", count=None, status=403, code="AuthorizationPermissionMismatch")
    upload = threading.Thread(target=_expect_refusal, args=(models, model_folder), daemon=True)
    upload.start()
    upload.join(60)
    assert not upload.is_alive()
    assert models.all() == []


def _expect_refusal(models: Models, path: Path) -> None:
    with pytest.raises(WorkspaceUnavailable, match="storage account refuses it") as refused:
        register(models, path)
    assert "Storage Blob Data Contributor" in refused.value.hint


def test_a_lost_answer_of_a_registration_leaves_one_version(models, model_file, azure):
    azure.service.fault("PUT *models/clf/versions/*", lost=True)
    assert register(models, model_file).version == 1
    assert [model.reference for model in models.all()] == ["clf:1"]


def test_a_note_and_tags_are_changed_and_taken_away(models, model_file):
    register(models, model_file, description="old", tags={"a": "1", "b": "2"})
    assert models.describe("clf:1", note="new").note == "new"
    assert dict(models.describe("clf:1", tags={"a": "", "c": "3"}).tags) == {"b": "2", "c": "3"}
    assert models.describe("clf:1", note="").note == ""
    (model,) = models.all()
    assert (model.description, dict(model.tags)) == ("", {"b": "2", "c": "3"})


def test_a_deleted_version_is_in_no_list_and_its_number_is_not_given_again(models, model_file):
    for _ in range(2):
        register(models, model_file)
    models.delete("clf:2")
    assert [model.reference for model in models.all()] == ["clf:1"]
    assert register(models, model_file).reference == "clf:3"


@pytest.fixture
def training_run(ws, tmp_path) -> Any:
    """One of an experiment `train`, which left a model and a folder."""
    from azureml.core import Experiment

    run = Experiment(ws, "train").start_logging(snapshot_directory=None, display_name="first try")
    (tmp_path / "m.pkl").write_bytes(b"weights")
    for name in ("outputs/m.pkl", "outputs/folder/a.bin", "outputs/folder/b.bin"):
        run.upload_file(name, str(tmp_path / "m.pkl"))
    run.complete()
    return run


def test_training_runs_are_listed_by_their_experiment(training_run, azure, tmp_path):
    cloud = AzureWorkspace(from_environment(tmp_path, sdk="v2"), tmp_path, blocking=True)
    assert cloud.experiments() == ["train"]
    (found,) = cloud.training_runs("train")
    assert (found.id, found.name, found.status, found.experiment) == (training_run.id, "first try", "Completed", "train")
    assert found.started_at
    with pytest.raises(NotFound, match="other"):
        cloud.training_runs("other")


def test_a_file_or_folder_of_a_training_run_becomes_a_model(models, training_run, tmp_path):
    assert models.training_run_files("train", training_run.id) == ["outputs/folder/a.bin", "outputs/folder/b.bin", "outputs/m.pkl"]
    about = {"description": "best", "tags": {"by": "train"}}
    made = models.register_from_run("m", "train", training_run.id, "outputs/m.pkl", **about)
    assert (made.reference, made.kind, made.description, dict(made.tags)) == ("m:1", "registered from a run", "best", {"by": "train"})
    assert models.fetch("m:1", tmp_path / "one").read_bytes() == b"weights"
    models.register_from_run("m", "train", training_run.id, "outputs/folder/", **about)
    assert set(contents(models.fetch("m:2", tmp_path / "two"))) == {"a.bin", "b.bin"}


@pytest.mark.parametrize("path", ["outputs/none.pkl", "outputs/m", "../x", "/"])
def test_what_a_training_run_did_not_leave_is_no_model(models, training_run, path):
    with pytest.raises(StudioError):
        models.register_from_run("m", "train", training_run.id, path, description="", tags={})
    assert models.all() == []


# ---- datasets --------------------------------------------------------------------------------------------------------------------

FILES = {"a b.csv": b"1,2\n", "deep/er/ü%20#?.bin": b"", "deep/[1].bin": bytes(range(256)) * 4}


@pytest.fixture
def place(session, azure) -> str:
    """A folder of the default datastore with FILES in it."""
    here = store(session)
    for name, content in FILES.items():
        here.blobs.upload_blob(f"some/folder/{name}", content)
    return "azureml://datastores/workspaceblobstore/paths/some/folder"


def put(datasets: Datasets, where: str, name: str = "rows", table: Table | None = None, **about: Any) -> Any:
    """Register what is at a place; the version as it is listed then."""
    made = datasets.register(NewDataset(name, where, table, **about))
    listed = list(datasets.all(()))
    assert made in listed
    return next(one for one in listed if one.reference == made.reference)


def noun(listed: Any, kind: type = FileDataset, **about: Any) -> Any:
    """As the shared lists make it."""
    values = (listed.name, listed.version, listed.root, "**", True, None, None, "", "", utc_now())
    return kind(*values, **about)


@pytest.mark.parametrize("credentials", ["Sas", "AccountKey", "None"])
def test_a_folder_goes_up_and_is_listed_whatever_opens_the_storage(session, datasets, azure, tmp_path, credentials):
    azure.service.set_storage_credentials(credentials, azure.workspace)
    for name, content in FILES.items():
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / name).write_bytes(content)
    here = datasets.store()
    uploads.upload_files(here.blobs, "target", {name: tmp_path / "files" / name for name in FILES}, silent)
    there = downloads.blobs_by_path(here.blobs, "target")
    assert {name: blob.size for name, blob in there.items()} == {name: len(content) for name, content in FILES.items()}
    asked = session.credential.audiences
    assert ("https://storage.azure.com" in asked) is (credentials == "None")  # then a runner gets a token for it too


def test_a_folder_in_place_is_a_uri_folder_and_a_file_a_uri_file(datasets, place, ml):
    folder, file = put(datasets, place), put(datasets, f"{place}/a b.csv", "one")
    assert (folder.root, folder.tabular, file.root) == (place, False, f"{place}/a b.csv")
    assert (ml.data.get("rows", "1").type, ml.data.get("one", "1").type) == ("uri_folder", "uri_file")
    assert [file.path for file in datasets.files(noun(folder))] == sorted(FILES)
    assert [file.path for file in datasets.files(noun(file))] == ["a b.csv"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.csv", ["a b.csv"]),
        ("**/*.bin", ["deep/[1].bin", "deep/er/ü%20#?.bin"]),
        ("deep/*", ["[1].bin"]),
        ("none*", []),
        ("", sorted(FILES)),
    ],
)
def test_what_is_at_a_place_is_listed_by_a_pattern(datasets, place, pattern, found):
    assert sorted(file.path for file in datasets.files_at(f"{place}/{pattern}")) == found


def test_a_pattern_is_registered_as_files_not_as_a_table(datasets, place, session, ml):
    listed = put(datasets, f"{place}/**/*.bin")
    assert (listed.tabular, ml.data.get("rows", "1").type) == (False, "mltable")
    assert len(list(datasets.files(noun(listed)))) == 2


def test_what_is_downloaded_is_what_is_there(datasets, place, tmp_path):
    dataset = noun(put(datasets, place))
    datasets.download(dataset, tmp_path / "all")
    assert contents(tmp_path / "all") == FILES
    datasets.download(dataset, tmp_path / "one", 1)
    assert contents(tmp_path / "one") == {"deep/[1].bin": FILES["deep/[1].bin"]}


def test_a_place_that_is_none_is_refused(datasets):
    for where in ("azureml:rows:1", "azureml://jobs/x/outputs/y"):
        with pytest.raises(SettingsError) as refused:
            datasets.files_at(where)
        assert refused.value.field == "path"


def test_a_dataset_without_one_place_says_so(datasets, place):
    with pytest.raises(NotFound, match="not in one place"):
        list(datasets.files(replace(noun(put(datasets, place)), root="")))


def test_a_place_in_a_datastore_that_is_not_there_says_so(session, datasets):
    with pytest.raises(StudioError, match="elsewhere"), session.sdk_calls("It can't be listed", "path"):
        datasets.files_at("azureml://datastores/elsewhere/paths/x")


def test_all_versions_are_listed(datasets, place, azure):
    for name in ("rows", "other", "rows"):
        put(datasets, place, name)
    azure.service.set_page_size(1, azure.workspace)
    assert sorted(one.reference for one in datasets.all(())) == ["other:1", "rows:1", "rows:2"]


def test_what_this_program_keeps_with_a_dataset_is_no_tag_that_people_see(datasets, place, ml):
    own = {"batch_scoring_studio": '{"files": 3}'}
    assert put(datasets, place, own=own).tags == own
    assert ml.data.get("rows", "1").tags == {}


def test_notes_and_tags_of_a_dataset_are_those_of_one_version(datasets, place):
    for _ in range(2):
        put(datasets, place, own={"batch_scoring_studio": "{}"})
    assert datasets.describe("rows:2", tags={"a": "1"}).tags == {"a": "1"}
    assert datasets.describe("rows:2", note="text").note == "text"
    assert datasets.describe("rows:2", tags={"a": "", "b": "2"}).tags == {"b": "2"}
    assert {one.version: (one.description, *sorted(one.tags)) for one in datasets.all(())} == {
        1: ("", "batch_scoring_studio"),
        2: ("text", "b", "batch_scoring_studio"),
    }
    assert datasets.describe("rows:2", note="").note == ""


def test_a_new_version_keeps_the_note_and_tags_of_the_one_before(datasets, place):
    put(datasets, place, description="text")
    datasets.describe("rows:1", tags={"a": "1"})
    assert (put(datasets, place).description, put(datasets, place, description="other").description) == ("text", "other")
    assert put(datasets, place).tags == {"a": "1"}


def test_a_version_is_deleted_by_itself(datasets, place):
    for _ in range(3):
        put(datasets, place)
    datasets.unregister("rows:2")
    assert sorted(one.version for one in datasets.all(())) == [1, 3]
    assert put(datasets, place).version == 4


# ---- tables ----------------------------------------------------------------------------------------------------------------------

TABLE = Table(CSV, (("id", "int64"), ("x", "float64"), ("name", "str"), ("ok", "bool")), 2)


@pytest.fixture
def csv_files(tmp_path) -> list[Path]:
    paths = []
    for year, rows in (("2024", b'1,0.5,"a,b",True\n'), ("2025", b"2,,NA,False\n")):
        path = tmp_path / "tables" / year / "part.csv"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"id,x,name,ok\n" + rows)
        paths.append(path)
    return paths


def read_by_azure_s_reader(table: dict[str, Any]) -> list[dict[str, Any]]:
    """What the library makes of an MLTable file by which Azure ML reads it. It takes the files of this machine in the order in which the
    disk has them: here they are in that of their keys."""
    from azureml.dataprep.api._rslex_executor import get_rslex_executor

    rows = list(get_rslex_executor().to_pyrecords(yaml.safe_dump(table, sort_keys=False)))
    return sorted(rows, key=lambda row: str(row.get("year", "")))


def test_azure_reads_the_rows_of_a_table_with_their_types_and_keys(azure, csv_files, tmp_path):
    where = {"folder": f"file://{tmp_path / 'tables'}"}
    rows = read_by_azure_s_reader(mltable([where], TABLE, "/{year}/part.csv"))
    assert rows == [
        {"year": "2024", "id": 1, "x": 0.5, "name": "a,b", "ok": True},
        {"year": "2025", "id": 2, "x": None, "name": "NA", "ok": False},
    ]


def test_azure_reads_the_rows_of_parquet_files(azure, tmp_path):
    import pandas

    (tmp_path / "p").mkdir()
    pandas.DataFrame({"id": [1, 2], "t": ["x\ny", None]}).to_parquet(tmp_path / "p" / "a.parquet")
    rows = read_by_azure_s_reader(mltable([{"folder": f"file://{tmp_path / 'p'}"}], Table(PARQUET, (), 2)))
    assert rows == [{"id": 1, "t": "x\ny"}, {"id": 2, "t": None}]


def test_an_mltable_file_says_what_sdk_v1_keeps_for_the_same_dataset(ws):
    """But for the reader's defaults, which the SDK v1 spells out."""
    from services.azure.sdk_v1.datasets import definition

    for table in (TABLE, Table(PARQUET, TABLE.columns, 2)):
        theirs = definition("https://x/y.csv", table, multi_line=False, partition_format="/{k}/y.csv")
        known = yaml.safe_load(theirs._dataflow._py_rs_dataflow.to_yaml_string())
        ours = mltable([{"file": "https://x/y.csv"}], table, "/{k}/y.csv")
        assert known["paths"] == ours["paths"]
        for their_step, our_step in zip(known["transformations"], ours["transformations"], strict=True):
            ((their_word, their_values),), ((our_word, our_values),) = their_step.items(), our_step.items()
            assert their_word == our_word
            assert our_values == their_values if isinstance(our_values, list) else our_values.items() <= their_values.items()


def test_a_table_is_registered_and_listed_as_one(datasets, place, ml, session):
    listed = put(datasets, f"{place}/**", table=TABLE, own={"batch_scoring_studio": '{"format": "csv"}'})
    assert (listed.tabular, listed.format, ml.data.get("rows", "1").type) == (True, "csv", "mltable")
    container, blobs = blobs_at(session, f"{ml.data.get('rows', '1').path}MLTable")
    text = yaml.safe_load(container.download_blob(next(iter(blobs.values())).name).readall())
    assert text["paths"][0]["folder"].endswith("/datastores/workspaceblobstore/paths/some/folder")
    assert text["paths"][0]["folder"].startswith("azureml://subscriptions/")


def test_a_table_of_another_program_is_told_by_its_mltable_file(session, datasets, ml, place):
    from azure.ai.ml.entities import Data

    for name, step in (("t", "read_parquet: {}"), ("u", "read_delimited: {}"), ("f", "")):
        text = "type: mltable\npaths:\n- folder: ./data\n" + (f"transformations:\n- {step}\n" if step else "")
        store(session).blobs.upload_blob(f"theirs/{name}/MLTable", text.encode())
        ml.data.create_or_update(Data(name=name, type="mltable", path=f"azureml://datastores/workspaceblobstore/paths/theirs/{name}/"))
    listed = {one.name: (one.tabular, one.format, one.root) for one in datasets.all(())}
    base = "azureml://datastores/workspaceblobstore/paths/theirs"
    assert listed == {"t": (True, "parquet", f"{base}/t/data"), "u": (True, "csv", f"{base}/u/data"), "f": (False, "", f"{base}/f/data")}


def test_registering_a_table_asks_for_no_schema(datasets, place, azure):
    put(datasets, place, table=TABLE)
    assert azure.service.count("*azuremlschemas*") == 0


def test_plain_csv_stays_csv(datasets, csv_files):
    assert datasets.as_read(csv_files, TABLE) == (TABLE, False)
    large = replace(TABLE, columns=(("id", "uint64"), *TABLE.columns[1:]))
    assert dict(datasets.as_read(csv_files, large)[0].columns)["id"] == "str"


@pytest.mark.parametrize(
    "content",
    [
        b"id,x\n1,2\n\n",
        b'id,x\n1,"2\n"\n',
        b"id,x\n1,2\r3,4\n",
        b"\xef\xbb\xbfid,x\n1,2\n",
        b"id,y\n1,2\n",
        b"id,x\r\n1,2\r\n\r\n",
        b"\nid,x\n1,2\n",
    ],
)
def test_csv_that_azure_may_read_otherwise_is_told(datasets, tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(StudioError, match="may read other rows"):
        datasets.as_read([tmp_path / "t.csv"], Table(CSV, (("id", "int64"), ("x", "int64")), 1))


def test_csv_whose_names_azure_would_trim_is_told(datasets, tmp_path):
    (tmp_path / "t.csv").write_bytes(b"id, x\n1,2\n")
    with pytest.raises(StudioError, match="may read other rows"):
        datasets.as_read([tmp_path / "t.csv"], Table(CSV, (("id", "int64"), (" x", "int64")), 1))


# ---- as the workspace has them -----------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(session, models, datasets, environments, tmp_path) -> SharedDatasets:
    """The datasets as both SDKs have them, by this one."""
    nothing: Any = None
    sdk = Sdk("SDK v2", "azure-ai-ml", session, nothing, models, datasets, environments, Computes(session), nothing, nothing)
    return SharedDatasets(sdk, tmp_path / "home")


@pytest.fixture
def add(shared, tmp_path) -> Any:
    def register_files(path: Path | str, type_: str = "file", **about: Any) -> Any:
        staging = tmp_path / f"staging-{len(list(tmp_path.iterdir()))}"
        staging.mkdir()
        return shared.register("d", path, DatasetOptions(type_, **about), staging, silent)

    return register_files


def test_a_folder_of_files_is_uploaded_listed_and_known_elsewhere(shared, add, model_folder, tmp_path, datasets):
    made = add(model_folder)
    assert (made.file_count, made.size, made.in_place) == (10, 45_000, False)
    assert list(shared.changes(made)) == []
    (listed,) = shared.all()
    assert replace(listed, created_at=made.created_at) == made
    assert shared.fetch(made, "part 1/7 ü%20.bin", silent).read_bytes() == b"x" * 7000
    assert contents(shared.download(made, tmp_path / "all")) == contents(model_folder)


def test_an_upload_of_files_that_broke_off_is_continued(shared, add, model_folder, azure):
    azure.service.fault("PUT *part 1/7*", count=None, status=403)
    with pytest.raises(WorkspaceUnavailable, match="no permission"):
        add(model_folder)
    assert shared.all() == []
    azure.service.clear()
    add(model_folder)
    sent = [seen.line for seen in azure.requests if seen.line.startswith("PUT") and ".blob." in seen.line]
    assert 1 <= len(sent) < 10


def test_files_that_storage_swallows_are_sent_again(shared, add, model_folder, azure):
    azure.service.fault("PUT *part 1/7*", swallow=True)
    assert list(shared.changes(add(model_folder))) == []


def test_a_file_that_is_gone_or_changed_is_told(shared, add, model_folder, datasets):
    made = add(model_folder)
    container, blobs = blobs_at(datasets._session, made.root)
    container.delete_blob(blobs["part 0/2 ü%20.bin"].name)
    container.upload_blob(blobs["part 0/4 ü%20.bin"].name, b"other", overwrite=True)
    assert list(shared.changes(made)) == [
        "part 0/2 ü%20.bin is gone since it was registered.", "part 0/4 ü%20.bin was changed since it was registered."
    ]  # fmt: skip


def test_a_table_keeps_its_rows_columns_and_keys(shared, add, csv_files, tmp_path, session, ml):
    made = add(tmp_path / "tables", "tabular", partition_format="{year}/part.csv")
    assert (made.format, made.row_count, dict(made.columns)["id"]) == ("csv", 2, "int64")
    (listed,) = shared.all()
    assert replace(listed, created_at=made.created_at, manifest=made.manifest) == made
    container, blobs = blobs_at(session, f"{ml.data.get('d', '1').path}MLTable")
    written = yaml.safe_load(container.download_blob(blobs["MLTable"].name).readall())
    here = {"folder": f"file://{tmp_path / 'tables'}"}
    assert [row["year"] for row in read_by_azure_s_reader(written | {"paths": [here]})] == ["2024", "2025"]


def test_a_csv_that_azure_may_read_otherwise_is_uploaded_as_parquet(shared, add, tmp_path, ml):
    (tmp_path / "t.csv").write_text('a,b\n1,"x\ny"\n2,z\n')
    made = add(tmp_path / "t.csv", "tabular")
    assert (made.format, made.row_count) == ("parquet", 2)
    there = shared.download(made, tmp_path / "there")
    assert there.suffix == ".parquet"
    assert read_by_azure_s_reader(mltable([{"file": f"file://{there}"}], Table(PARQUET, (), 2))) == [
        {"a": 1, "b": "x\ny"}, {"a": 2, "b": "z"}
    ]  # fmt: skip


def test_what_lies_in_a_datastore_is_registered_where_it_is(shared, add, place, azure):
    made = add(f"{place}/**/*.bin")
    assert (made.file_count, made.in_place, made.size) == (2, True, 1024)
    assert shared.fetch(made, "deep/[1].bin", silent).read_bytes() == FILES["deep/[1].bin"]
    with pytest.raises(StudioError, match="no file"):
        add(f"{place}/none")


def input_of(session: Session, dataset: Any) -> Any:
    """As a run gets it."""
    jobs: Any = sdk_v2(session.connection, print, of_a_command=True).jobs
    return jobs._data(dataset.reference, tabular=isinstance(dataset, TabularDataset))


def test_a_dataset_that_sdk_v1_registered_here_is_known_and_used(shared, azure, tmp_path, csv_folder, ml):
    by_v1 = AzureWorkspace(from_environment(tmp_path), tmp_path / "v1", blocking=True).register_dataset("v1", csv_folder(3))
    (listed,) = shared.all()
    assert (listed.reference, listed.file_count, listed.root, listed.type) == ("v1:1", 3, by_v1.root, "file")
    assert list(shared.changes(listed)) == []
    assert input_of(shared._session, listed) == {"type": "mltable", "path": "azureml:v1:1", "mode": "eval_mount"}


def test_a_dataset_of_sdk_v1_whose_files_nobody_tells_is_listed_as_a_table(shared, ws, rows):
    (listed,) = shared.all()
    assert (listed.reference, listed.type, listed.root, listed.file_count) == ("rows:1", "tabular", "", None)
    with pytest.raises(NotFound):
        shared.file_list(listed)


def test_each_kind_of_dataset_is_an_input_of_its_own(session, datasets, place):
    files, table = put(datasets, place), put(datasets, place, "t", TABLE)
    one, some = put(datasets, f"{place}/a b.csv", "one"), put(datasets, f"{place}/*", "some")
    given = [input_of(session, noun(one)) for one in (files, one, some)]
    given.append(input_of(session, noun(table, TabularDataset, format="csv", columns=())))
    assert [(one["type"], one["mode"]) for one in given] == [
        ("uri_folder", "ro_mount"), ("uri_file", "ro_mount"), ("mltable", "eval_mount"), ("mltable", "direct")
    ]  # fmt: skip


# ---- environments and computes ---------------------------------------------------------------------------------------------------


def test_the_latest_version_of_each_environment_is_listed(environments):
    environments.register("mine", conda_of("3.11", ["numpy==2.3.2"]))
    environments.register("mine", conda_of("3.12", ["numpy==2.3.2"]))
    assert {one.reference for one in environments.all()} == {"AzureML-sklearn-1.5:1", "mine:2"}


def test_an_environment_is_made_of_requirements_and_the_same_one_once(environments):
    content = conda_of("3.11", ["numpy==2.3.2", "scikit-learn", *environments.needed])
    made = environments.register("mine", content)
    assert (made.reference, made.python_version) == ("mine:1", "3.11")
    assert made.packages == {"pip": "", "numpy": "2.3.2", "scikit-learn": "", "mltable": "1.2.0"}
    assert made.interpreter.startswith("conda, on mcr.microsoft.com/azureml/")
    assert environments.register("mine", content).reference == "mine:1"


def test_an_environment_made_from_a_list_holds_what_a_step_needs(azure, tmp_path):
    cloud, wanted = AzureWorkspace(from_environment(tmp_path, sdk="v2"), tmp_path, blocking=True), from_packages(["scikit-learn==1.3.2"])
    made = cloud.create_environment("mine", wanted, approved=wanted.sha256)
    assert made.packages["scikit-learn"] == "1.3.2"
    assert {"azureml-core", "azureml-dataset-runtime", "setuptools", "mltable"} <= made.packages.keys()


def test_an_environment_is_registered_from_a_conda_file(environments, tmp_path):
    (tmp_path / "conda.yml").write_text("dependencies:\n- python=3.10\n- scikit-learn=1.5\n")
    made = environments.register("theirs", conda_file(tmp_path / "conda.yml"))
    assert (made.reference, made.python_version, made.packages["scikit-learn"]) == ("theirs:1", "3.10", "1.5")


def test_a_curated_name_is_refused_on_the_name(environments):
    with pytest.raises(SettingsError, match="reserved for curated") as refused:
        environments.register("AzureML-mine", conda_of("3.11", []))
    assert refused.value.field == "name"


def test_whether_an_image_is_built_is_not_known(environments):
    assert environments.image("AzureML-sklearn-1.5", 1) is Image.UNKNOWN


def test_clusters_are_listed_with_their_state_size_and_nodes(session):
    targets = {target.name: target for target in Computes(session).targets()}
    assert targets["cpu-cluster"].describe() == "AmlCompute, STANDARD_DS3_V2, 0 of at most 4 nodes running, Succeeded"
    assert all(target.usable for target in targets.values())
    assert targets[SERVERLESS].describe() == "serverless, made for each run"


def test_a_cluster_whose_nodes_may_not_be_seen_is_listed_all_the_same(session, azure):
    azure.service.fault("POST *listNodes*", count=None, status=403)
    assert [target.nodes for target in Computes(session).targets() if target.name == "cpu-cluster"] == [None]


def test_a_failed_cluster_can_not_be_used(session, azure):
    azure.service.set_compute("broken", azure.workspace, state="Failed")
    (broken,) = [target for target in Computes(session).targets() if target.name == "broken"]
    assert (broken.state, broken.usable) == ("Failed", False)


def test_a_cluster_is_asked_for_as_it_is_now(session):
    cluster = Computes(session).cluster("cpu-cluster")
    assert (cluster.state, cluster.nodes, cluster.busy, cluster.low_priority, list(cluster.errors)) == ("Succeeded", 0, 0, False, [])
    assert Computes(session).cluster(SERVERLESS).state == "made for each run"
    with pytest.raises(SettingsError) as gone:
        Computes(session).cluster("gone")
    assert gone.value.field == "compute_target"


def test_nodes_are_counted_by_the_state_that_the_sdk_has_under_another_name():
    """azure-ai-ml 1.35 leaves `node_state` empty, and has the service's `nodeState` beside it."""
    from azure.ai.ml._restclient.arm_ml_service.models import AmlComputeNodeInformation
    from azure.ai.ml.entities._compute._aml_compute_node_info import AmlComputeNodeInfo

    from services.azure.sdk_v2.computes import _node_states

    nodes = [AmlComputeNodeInfo._from_rest_object(AmlComputeNodeInformation({"nodeState": state})) for state in ("running", "idle", "idle")]
    client: Any = SimpleNamespace(compute=SimpleNamespace(list_nodes=lambda _name: nodes))
    assert _node_states(client, "c") == {"running": 1, "idle": 2}


def test_quotas_are_those_of_the_region(session):
    quotas = Computes(session).quotas("STANDARD_DS3_V2")
    assert quotas.cores == 4
    assert quotas.usages
    assert all(isinstance(used, int) and isinstance(limit, int) for _, used, limit in quotas.usages)
    assert Computes(session).quotas("").cores is None


def test_datastores_are_listed_with_the_default_marked(session):
    stores = {store.name: store for store in Computes(session).datastores()}
    assert [name for name, one in stores.items() if one.is_default] == ["workspaceblobstore"]
    assert stores["workspaceblobstore"].type == "AzureBlob"


# ---- errors ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ({"status": 403, "code": "AuthorizationFailed", "message": "No."}, WorkspaceUnavailable, "you have no permission. No."),
        ({"status": 500, "code": "InternalError", "message": "Oh no."}, WorkspaceUnavailable, "Azure ML answered 500. Oh no."),
        ({"status": 404, "code": "NotFound", "message": "It is gone."}, NotFound, "It is gone."),
        ({"cut": True}, WorkspaceUnavailable, "Azure ML could not be reached."),
    ],
)
def test_a_refusal_is_told_in_one_line_without_the_sdk_s_page_of_advice(session, azure, monkeypatch, fault, kind, says):
    session.region()
    azure.service.fault("GET *models?*", count=None, **fault)
    with pytest.raises(kind) as refused:
        Models(session).all()
    assert refused.value.message.startswith(f"The models can't be listed: {says}")
    assert not set("\n\x1b") & set(refused.value.message)
    assert "Additional Information" not in refused.value.message


def test_what_the_sdk_refuses_itself_is_told_without_colours_and_advice(session):
    from azure.ai.ml.entities import Data, Environment

    with pytest.raises(StudioError) as told, session.sdk_calls("It was not registered") as client:
        client.data.create_or_update(Data(name="d", type="uri_folder", path="/no/where"))
    assert told.value.message == "It was not registered: File path does not match asset type uri_folder: /no/where"
    with pytest.raises(StudioError) as told, session.sdk_calls("It was not registered") as client:
        client.environments.create_or_update(Environment(name="e"))
    assert told.value.message == "It was not registered: Docker image or Dockerfile is required for environments"
