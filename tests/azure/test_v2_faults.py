"""What a person sees when something goes wrong by SDK v2: each fault made on the stand-in, or on this machine, and the whole sentence."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.azure.auth import retry
from services.azure.auth.token_relay import TokenReceiver
from services.azure.runs.runner import Runner
from services.azure.workspace import AzureWorkspace
from services.connection import from_environment
from services.domain import Run, RunRequest, RunStatus
from services.errors import NotFound, SettingsError, StudioError, WorkspaceUnavailable
from services.settings import ParallelRunSettings
from services.storage import run_process

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own

ECHO = "import os\ndef run(mini_batch):\n    return [os.path.basename(path) for path in mini_batch]\n"
SLEEPS = "import time\ndef run(mini_batch):\n    time.sleep(600)\n"
PERMISSION = "Ask its owner for the role AzureML Data Scientist on the workspace, and for its storage account."
SIGN_IN = "Sign in again: on the Connection page, by az login, or by the AZURE_ variables."
NETWORK = "Check the network, and HTTPS_PROXY behind a proxy."
NO_DATASET = "Dataset rows was not registered"


def opened(home: Path, folder: Path) -> AzureWorkspace:
    """The workspace by SDK v2, as the command line has it."""
    return AzureWorkspace(from_environment(folder, sdk="v2"), home, blocking=True)


@pytest.fixture
def cloud(azure, home, tmp_path) -> AzureWorkspace:
    return opened(home, tmp_path)


@pytest.fixture
def submit(cloud, csv_folder, tmp_path) -> Callable[..., Run]:
    """`submit(script)`: a run over seven files."""

    def make(source: str = ECHO) -> Run:
        (tmp_path / "score.py").write_text(source)
        cloud.register_dataset("rows", csv_folder(7))
        settings = ParallelRunSettings(mini_batch_size=3, process_count_per_node=1, run_max_try=1)
        request = RunRequest((), ("rows",), str(tmp_path / "score.py"), settings, compute_target="cpu-cluster", allow_reuse=False)
        return cloud.submit(request)

    return make


@contextmanager
def says(kind: type[StudioError], message: str, hint: str) -> Iterator[None]:
    """All that a person is told; PLACE stands for the workspace."""
    with pytest.raises(kind) as refused:
        yield
    place = f"{os.environ['AZURE_SUBSCRIPTION_ID']} / rg-batch / {os.environ['AZURE_WORKSPACE_NAME']}"
    assert (refused.value.message, refused.value.hint) == (message.replace("PLACE", place), hint)


def left(cloud: AzureWorkspace, run: Run, finish: Callable[..., Run]) -> tuple[RunStatus, str | None, str | None]:
    """How a run ended, or that nobody follows it any longer; and what its page says."""
    run = finish(cloud, run.id, until=lambda run: run.status.ended or run.status is RunStatus.NOT_RESPONDING)
    return run.status, run.error_code, run.error


# ---- the connection ----------------------------------------------------------------------------------------------------------------


def by_proxy(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, address)


def test_offline(azure, home, tmp_path, monkeypatch):
    by_proxy(monkeypatch, "http://127.0.0.1:1")
    with says(
        WorkspaceUnavailable,
        "The workspace PLACE can't be opened: Azure ML could not be reached. 127.0.0.1: the proxy does not answer.",
        NETWORK,
    ):
        opened(home, tmp_path).models()


def test_a_host_whose_name_can_not_be_resolved(azure, home, tmp_path, monkeypatch):
    by_proxy(monkeypatch, "http://proxy.invalid:3128")
    with says(
        WorkspaceUnavailable,
        "The workspace PLACE can't be opened: Azure ML could not be reached. proxy.invalid: its name can't be resolved.",
        NETWORK,
    ):
        opened(home, tmp_path).models()


def test_a_workspace_that_is_not_there(azure, home, tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_WORKSPACE_NAME", "ghost")
    with says(
        NotFound,
        "The workspace PLACE can't be opened: Workspace ghost was not found.",
        "Check the subscription, the resource group and the name of the workspace.",
    ):
        opened(home, tmp_path).models()


def test_a_wrong_secret(azure, home, tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong-secret-of-a-test")
    with says(
        WorkspaceUnavailable,
        "The workspace PLACE can't be opened: you are not signed in, or the sign-in has expired. Authentication failed: "
        "AADSTS7000215: Invalid client secret provided.",
        SIGN_IN,
    ):
        opened(home, tmp_path).models()


def test_a_wrong_tenant(azure, home, tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_TENANT_ID", "00000000-0000-0000-0000-00000000dead")
    with says(
        WorkspaceUnavailable,
        "The workspace PLACE can't be opened: the sign-in service gave an unexpected answer.",
        "Try again, and check the tenant's id.",
    ):
        opened(home, tmp_path).models()


def test_a_sign_in_that_has_expired(cloud, azure):
    cloud.models()
    azure.service.expire_tokens()
    with says(
        WorkspaceUnavailable,
        "The models can't be listed: you are not signed in, or the sign-in has expired. The access token has expired or is not valid.",
        SIGN_IN,
    ):
        cloud._cache.models.fetch()
    assert cloud._cache.models.fetch() == []  # signed in anew


def test_no_permission(cloud, azure):
    refusal = {"code": "AuthorizationFailed", "message": "Ann may not perform action models/read."}
    azure.service.fault("GET *models?*", count=None, status=403, **refusal)
    with says(
        WorkspaceUnavailable,
        "The models can't be listed: you have no permission. Ann may not perform action models/read.",
        PERMISSION,
    ):
        cloud.models()


def test_azure_that_stays_busy(cloud, azure):
    cloud.compute_targets()
    azure.service.fault("GET *models?*", count=None, status=429, retry_after=120)
    with says(
        WorkspaceUnavailable,
        "The models can't be listed: Azure still throttles the requests after all retries.",
        "Try again in some minutes.",
    ):
        cloud.models()


def test_an_sdk_that_is_not_installed(cloud, model_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "azure.ai.ml", None)
    with pytest.raises(WorkspaceUnavailable, match="The Azure ML SDK is not there"):
        cloud.register_model("m", model_file)


# ---- uploads -------------------------------------------------------------------------------------------------------------------------


def test_an_upload_that_does_not_arrive_whole(cloud, azure, csv_folder):
    azure.service.fault("PUT *0003.csv*", count=None, swallow=True)
    with says(
        WorkspaceUnavailable,
        "1 of 7 files did not arrive whole, also after retries (0003.csv: 0 of 13 bytes are there).",
        "Try again: what has arrived is not sent again. Is the storage account reachable from here?",
    ):
        cloud.register_dataset("rows", csv_folder(7))
    assert cloud.datasets() == []


def test_an_upload_that_storage_refuses(cloud, azure, csv_folder):
    message = "This request is not authorized to perform this operation using this permission."
    azure.service.fault("PUT *0003.csv*", count=None, status=403, code="AuthorizationPermissionMismatch", message=message)
    with says(
        WorkspaceUnavailable,
        f"{NO_DATASET}: the storage account refuses it. {message}",
        "Ask its owner for the role Storage Blob Data Contributor, and whether it allows keys, and this machine through its firewall.",
    ):
        cloud.register_dataset("rows", csv_folder(7))


# ---- submitting ----------------------------------------------------------------------------------------------------------------------


def test_a_compute_target_that_is_gone(cloud, azure, submit, finish):
    cloud.compute_targets()
    azure.service.remove_compute("cpu-cluster", azure.workspace)
    assert left(cloud, submit(), finish) == (
        RunStatus.FAILED,
        "NotSubmitted",
        (
            f"The run can't be submitted: Compute with name cpu-cluster not found in workspace {azure.workspace}. "
            "It may have been deleted: choose another compute target."
        ),
    )


def test_an_answer_of_the_submission_that_is_lost_starts_no_second_run(cloud, azure, submit, finish, ml):
    azure.service.fault("PUT *{ws}/jobs/*", lost=True, count=4)  # each of the SDK's tries
    run = submit()
    assert left(cloud, run, finish) == (RunStatus.COMPLETED, None, None)
    assert [job.name for job in ml.jobs.list()] == [run.id]


def test_a_submission_that_is_refused_is_made_later(cloud, azure, submit, finish):
    refusal = {"code": "AuthorizationFailed", "message": "You may not perform action write."}
    azure.service.fault("PUT *{ws}/jobs/*", count=None, status=403, **refusal)
    run = submit()
    assert left(cloud, run, finish) == (
        RunStatus.FAILED,
        "NotSubmitted",
        (
            f"The run can't be submitted: you have no permission. You may not perform action write. {PERMISSION} "
            "Nothing was submitted. Resume the run to submit it once this is fixed."
        ),
    )
    azure.service.clear()
    cloud.runs.resume(run.id)
    assert left(cloud, run, finish) == (RunStatus.COMPLETED, None, None)


def test_a_run_of_which_azure_ml_tells_nothing_is_looked_for_when_it_is_resumed(cloud, azure, submit, finish, monkeypatch, ml):
    connections = []
    with monkeypatch.context() as patched:  # this process is the runner, which gives up at once
        patched.setattr(run_process, "start", lambda *_, input_line, **__: connections.append(input_line))
        patched.setattr(retry, "RUNNER", retry.RetryPolicy(max_attempts=1))
        run = submit()
        reading, writing = os.pipe()
        os.write(writing, f"{connections[0]}\n".encode())
        azure.service.fault("PUT *{ws}/jobs/*", lost=True, count=4)
        azure.service.fault("GET *history*/runs/*", count=1)  # whether it is there, before: no fault
        azure.service.fault("GET *history*/runs/*", status=401, message="Not now.", count=None)
        with os.fdopen(reading, "rb", buffering=0) as pipe, cloud.runs.folder(run.id).locked(0):
            Runner(cloud.home, run.id, TokenReceiver(pipe)).execute()
        os.close(writing)
    assert left(cloud, run, finish) == (
        RunStatus.NOT_RESPONDING,
        "ConnectionLost",
        (
            f"The run can't be submitted: you are not signed in, or the sign-in has expired. Not now. {SIGN_IN} "
            "Azure ML may have the run: resume it, to follow it where it is there, and else to submit it."
        ),
    )
    azure.service.clear()
    cloud.runs.resume(run.id)
    assert left(cloud, run, finish) == (RunStatus.COMPLETED, None, None)
    assert [job.name for job in ml.jobs.list()] == [run.id]


# ---- in Azure ML -----------------------------------------------------------------------------------------------------------------------


def test_an_environment_that_can_not_be_built(cloud, azure, submit, finish, tmp_path):
    said = "Image build failed. For more details, see log file azureml-logs/20_image_build_log.txt."
    log = tmp_path / "left" / "logs" / "azureml-logs" / "20_image_build_log.txt"
    log.parent.mkdir(parents=True)
    log.write_text(
        "2026-11-30T10:00:00: Step 9/12 : RUN conda env create\n2026-11-30T10:00:09: \x1b[91mERROR: No matching distribution found for "
        "scikit-learn==99\n\x1b[0mThe command '/bin/sh -c conda env create' returned a non-zero code: 1\n"
    )
    (tmp_path / "left" / "step.json").write_text(json.dumps({"status": "Failed", "error": said}))
    azure.service.replay(tmp_path / "left", azure.workspace)
    assert left(cloud, submit(), finish) == (
        RunStatus.FAILED,
        "UserError",
        f"ERROR: No matching distribution found for scikit-learn==99\n\nAzure ML says: {said}",
    )


def test_a_script_whose_init_raises(cloud, submit, finish):
    status, code, error = left(cloud, submit("def init():\n    raise FileNotFoundError('no labels.txt')\n" + ECHO), finish)
    assert (status, code) == (RunStatus.FAILED, "UserError")
    assert error.splitlines()[0] == "FileNotFoundError: no labels.txt"


def test_two_datasets_are_refused_before_anything_is_submitted(cloud, csv_folder, tmp_path):
    (tmp_path / "score.py").write_text(ECHO)
    cloud.register_dataset("rows", csv_folder(7))
    request = RunRequest((), ("rows", "rows"), str(tmp_path / "score.py"), compute_target="cpu-cluster")
    message = "a parallel job of SDK v2 scores one dataset, and this run names 2"
    for verb in (cloud.check, cloud.submit):
        with says(SettingsError, message, "Choose one, or connect by SDK v1."):
            verb(request)
    assert not cloud.runs.latest()


def test_a_token_that_is_refused_while_a_run_is_followed(cloud, azure, submit, finish):
    run = submit(SLEEPS)
    finish(cloud, run.id, until=lambda run: run.status is RunStatus.RUNNING)
    azure.service.expire_tokens()
    cloud.runs.cancel(run.id)
    assert left(cloud, run, finish) == (RunStatus.CANCELED, None, "Canceled on request.")


def test_a_run_that_somebody_cancels_in_azure_ml(cloud, submit, finish, ml):
    run = submit(SLEEPS)
    finish(cloud, run.id, until=lambda run: run.status is RunStatus.RUNNING)
    ml.jobs.begin_cancel(run.id, polling=False)
    assert left(cloud, run, finish) == (RunStatus.CANCELED, None, "Canceled in Azure ML.")


def test_a_cancel_that_azure_ml_refuses(cloud, azure, submit, finish, tmp_path):
    gate = tmp_path / "gate"
    run = submit(
        f"import os, time\ndef run(mini_batch):\n    while not os.path.exists({str(gate)!r}):\n        time.sleep(0.05)\n"
        "    return mini_batch\n"
    )
    finish(cloud, run.id, until=lambda run: run.status is RunStatus.RUNNING)
    azure.service.fault("POST *{ws}/jobs/*/cancel*", status=409, message="The job is being moved", count=None)
    cloud.runs.cancel(run.id)
    said = "The run can't be canceled: The job is being moved. It was changed at the same time: refresh and try again."
    assert finish(cloud, run.id, until=lambda run: run.warnings).warnings == (said,)
    gate.touch()
    text = "Canceled on request during the download of its output: the run is completed in Azure ML, which has the output."
    assert left(cloud, run, finish) == (RunStatus.CANCELED, None, text)


def test_a_run_of_which_azure_ml_refuses_to_tell_is_followed_when_it_is_resumed(cloud, azure, submit, finish):
    run = submit(SLEEPS)
    finish(cloud, run.id, until=lambda run: run.status is RunStatus.RUNNING)
    azure.service.fault("GET *history*/runs/*", status=400, message="Not now", count=None)
    assert left(cloud, run, finish) == (
        RunStatus.NOT_RESPONDING,
        "ConnectionLost",
        "The run can't be read: Not now. The run goes on in Azure ML. Resume it to follow it again.",
    )
    azure.service.clear()
    cloud.runs.resume(run.id)
    finish(cloud, run.id, until=lambda run: run.status is RunStatus.RUNNING)
    cloud.runs.cancel(run.id)
    assert left(cloud, run, finish) == (RunStatus.CANCELED, None, "Canceled on request.")


# ---- this machine ----------------------------------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_when_the_output_arrives(cloud, submit, finish, monkeypatch):
    """The limit on a file's size stands in for it: a write fails in the same place, with the like error."""
    big = "def run(mini_batch):\n    return [path + 'x' * 200_000 for path in mini_batch]\n"
    with monkeypatch.context() as patched:
        patched.setattr(run_process, "PYTHON", ["sh", "-c", 'ulimit -f 2000; exec "$0" "$@"', *run_process.PYTHON])  # of 512 bytes
        run = submit(big)
        assert left(cloud, run, finish) == (
            RunStatus.NOT_RESPONDING,
            "StorageError",
            (
                "The run's files can't be written or read: [Errno 27] File too large. Free disk space or fix its permissions, then resume "
                "the run."
            ),
        )
    cloud.runs.resume(run.id)
    assert left(cloud, run, finish) == (RunStatus.COMPLETED, None, None)
