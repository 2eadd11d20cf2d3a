"""Runs of the built-in scorers on this machine: what fails alone is reported with its cause."""

from __future__ import annotations

from services.domain import RunRequest, RunStatus
from services.intake.entry_scripts import BUILT_IN
from services.settings import ParallelRunSettings
from tests import scoring_models as made


def test_a_tables_bad_rows_fail_alone_with_their_causes(workspace, finish, tmp_path):
    rows = made.table().astype({"age": object})
    rows.loc[3, "age"] = "n/a!"
    rows.loc[50, "age"] = "?"
    rows.to_csv(tmp_path / "customers.csv", index=False)
    workspace.register_model("churn", made.saved(made.pipeline(), tmp_path / "model", "joblib"), approve=True)
    workspace.register_dataset("customers", tmp_path / "customers.csv", type="tabular")
    settings = ParallelRunSettings(mini_batch_size="1KB", process_count_per_node=2, error_threshold=-1)
    request = RunRequest(("churn",), ("customers",), str(BUILT_IN / "score_tables.py"), settings, arguments=("--keep", "income"))
    run = finish(workspace, workspace.submit(request).id)
    assert (run.status, run.items_succeeded, run.items_failed) == (RunStatus.COMPLETED, made.ROWS - 2, 2)
    causes = [item.cause for item in workspace.runs.failed_items(run.id)]
    assert sorted(causes) == [f"Its 'age' is {text!r}, not a number" for text in ("?", "n/a!")]
    good = [row for row in range(made.ROWS) if row not in (3, 50)]
    own = dict(zip(made.table()["income"][good], made.pipeline().predict(made.table())[good], strict=True))
    predicted = {row["income"]: row["Prediction"] for row in workspace.runs.predictions(run.id).page().to_pylist()}
    assert predicted == own
