"""`make test-azure`, on the stand-in: what a step left is kept as a recording, which the stand-in plays again."""

import pytest

from services.domain import RunRequest, RunStatus
from services.settings import ParallelRunSettings
from tests import azure_live
from tests.azure_service.recordings import traces_in

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own


def test_the_walk_on_azure_ml_is_kept_and_played_again(cloud, azure, finish, csv_folder, entry_script, tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_COMPUTE_TARGET", "cpu-cluster")
    kept = tmp_path / "kept"
    azure_live.main(["--keep", str(kept)])
    assert {path.relative_to(kept).as_posix() for path in kept.rglob("*.txt")} >= {
        "completed/output/parallel_run_step.txt",
        "completed/logs/logs/job_error.txt",
        "failed/logs/logs/user/stdout/0/process000.stdout.txt",
        "failed/logs/user_logs/std_log_0.txt",
    }
    assert [list(traces_in(kept / name)) for name in ("completed", "failed")] == [[], []]
    cloud.register_dataset("rows", csv_folder(7))
    script = str(entry_script("def run(mini_batch): return mini_batch"))
    for name, status in (("failed", RunStatus.FAILED), ("completed", RunStatus.COMPLETED)):
        azure.service.replay(kept / name, azure.workspace)
        request = RunRequest((), ("rows",), script, ParallelRunSettings(mini_batch_size=3), compute_target="cpu-cluster", allow_reuse=False)
        run = finish(cloud, cloud.submit(request).id)
        assert run.status is status, run.error
        assert status is RunStatus.COMPLETED or run.error.startswith(azure_live.CAUSE)


def test_the_walk_on_azure_ml_goes_by_sdk_v2_too(azure, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AZURE_COMPUTE_TARGET", "cpu-cluster")
    azure_live.main(["--keep", str(tmp_path), "--workspace", "azure-v2"])
    assert "All seven files were scored once" in capsys.readouterr().out
    assert (tmp_path / "completed" / "output" / "parallel_run_step.txt").is_file()
