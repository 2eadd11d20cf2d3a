"""A run's predictions, alone or joined with labels or with another run's. Used by the Results page and by its downloads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.workspaces import chosen_workspace

if TYPE_CHECKING:
    from services.predictions.reader import Predictions


def joined_table(run_id: str, joined: str) -> Predictions:
    """The predictions of a run; `joined` adds true labels (`labels:ID`, `labels:ID:COLUMN`) or another run's predictions (`run:ID`,
    `run:ID:COLUMN`)."""
    workspace = chosen_workspace()
    table = workspace.runs.predictions(run_id)
    what, id_, column = (*joined.split(":", 2), "", "")[:3]
    if what not in ("labels", "run"):
        return table
    from services.predictions.open_tables import open_predictions

    if what == "labels":
        from services.predictions import evaluation, label_file

        return open_predictions(evaluation.evaluate(table, label_file.labels_of(table.path.parent, id_), column).path)
    from services.predictions import comparison

    return open_predictions(comparison.compare(workspace.runs.predictions(id_), table, id_, column).path)
