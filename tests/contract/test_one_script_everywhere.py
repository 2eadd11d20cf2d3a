"""One entry script, not changed in a letter, on every workspace: the same table of predictions, and the same words for what failed."""

from pathlib import Path

from services.domain import RunRequest, RunStatus
from services.predictions.filters import EVERY_FAILURE
from services.settings import ParallelRunSettings
from services.workspaces import WORKSPACES, open_workspace

TUTORIAL = Path(__file__).parents[1] / "scripts" / "tutorial_script.py"
BAD = "0004.csv"
HOW_IT_RAN = ("Mini-batch", "Place", "Worker", "Seconds", "Scored at")
"""The columns of which Azure ML tells nothing."""


def test_the_tutorial_script_gives_equal_tables_and_equal_causes(home, azure, model_file, csv_folder, finish):
    files = csv_folder(7)
    (files / BAD).write_text("not a number\n")
    settings = ParallelRunSettings(mini_batch_size=1, process_count_per_node=1, run_max_try=1, error_threshold=1)
    submitted = {}
    for name in WORKSPACES:
        workspace = open_workspace(name, home)
        workspace.register_model("classification_model", model_file, approve=True)
        workspace.register_dataset("rows", files)
        target = workspace.remote.compute_targets()[0].name if workspace.remote else None
        request = RunRequest(("classification_model",), ("rows",), str(TUTORIAL), settings, compute_target=target)
        submitted[workspace] = workspace.submit(request).id
    tables, causes = [], []
    for workspace, run_id in submitted.items():
        run = finish(workspace, run_id)
        assert (run.status, run.items_succeeded, run.items_failed) == (RunStatus.COMPLETED, 6, 1), run.error
        predictions = workspace.runs.predictions(run_id)
        rows = [{name: row[name] for name in row if name not in HOW_IT_RAN} for row in predictions.page().to_pylist()]
        tables.append((predictions.kind, dict(predictions.columns), rows))
        failed = [(row["File"], row["Error"]) for row in predictions.page(EVERY_FAILURE).to_pylist()]
        assert failed == [(item.item, item.cause) for item in workspace.runs.failed_items(run_id)]
        causes.append((failed, workspace.runs.failure_causes(run_id)))
    here, *on_azure_ml = tables
    assert on_azure_ml == [here, here]
    assert [(row["File"], row["Prediction"]) for row in here[2]] == [(f"{n:04}.csv", str(n % 3)) for n in range(7) if n != 4]
    here, *on_azure_ml = causes
    assert on_azure_ml == [here, here]
    ((file, cause),) = here[0]
    assert file == BAD
    assert cause.startswith("ValueError: Input X contains NaN.")
