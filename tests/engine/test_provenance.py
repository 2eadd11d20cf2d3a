"""Where a row comes from: its file, its tries, what its worker said of it; and what went into a run."""

import hashlib
from datetime import UTC, datetime

from services.domain import RunRequest
from services.predictions.filters import EVERY_ROW
from services.run_details import RowKey
from services.settings import ParallelRunSettings

SAYS = """
    import logging, os
    def run(mini_batch):
        for path in mini_batch:
            print("now", os.path.basename(path), flush=True)
            print("another: 7" + os.path.basename(path), flush=True)
        logging.getLogger().warning("a mini-batch of %d", len(mini_batch))
        if mini_batch[0].endswith("0002.csv"): raise ValueError("no such colour")
        return [f"{os.path.basename(path)}: cat" for path in mini_batch]
"""


def test_a_row_has_its_input_its_tries_and_its_lines_of_the_log(workspace, csv_folder, entry_script, finish):
    workspace.register_dataset("d", csv_folder(6))
    script = entry_script(SAYS)
    settings = ParallelRunSettings(process_count_per_node=1, mini_batch_size=2, error_threshold=-1, run_max_try=2)
    run = finish(workspace, workspace.submit(RunRequest((), ("d",), str(script), settings)).id)
    table = workspace.runs.predictions(run.id)
    rows = {row["File"]: row for row in table.page(EVERY_ROW).to_pylist()}
    names = sorted(rows)

    fine = workspace.runs.trace(run.id, RowKey.of(rows[names[0]]), rows[names[0]]["Worker"])
    assert fine.input is not None
    assert fine.input.name == names[0].rpartition("/")[2]
    assert (fine.changed, fine.error, len(fine.tries)) == ("", "", 1)
    assert f"now {names[0].rpartition('/')[2]}" in fine.log
    assert any("a mini-batch of 2" in line for line in fine.log)
    assert not any("another" in line for line in fine.log)  # 70000.csv is not 0000.csv

    failed = workspace.runs.trace(run.id, RowKey.of(rows[names[2]]), rows[names[2]]["Worker"])
    assert len(failed.tries) == 2
    assert failed.error.startswith("ValueError: no such colour")
    assert "Traceback" in failed.error
    assert abs((failed.tries[-1].started_at - datetime.now(UTC)).total_seconds()) < 600
    assert rows[names[2]]["Scored at"].replace(tzinfo=UTC) >= failed.tries[-1].started_at.replace(microsecond=0)

    fine.input.write_text("9,9\n", encoding="utf-8")
    assert (
        workspace.runs.trace(run.id, RowKey.of(rows[names[0]]), rows[names[0]]["Worker"]).changed
        == "The file was changed after it was scored."
    )
    fine.input.unlink()
    gone = workspace.runs.trace(run.id, RowKey.of(rows[names[0]]), rows[names[0]]["Worker"])
    assert (gone.input, gone.changed) == (None, "The file is not there any more.")

    provenance = workspace.runs.provenance(run.id)
    assert provenance.datasets[0][0] == "d:1"
    assert provenance.datasets[0][1] == workspace.dataset("d").manifest_sha256
    assert provenance.script == (script.name, hashlib.sha256(script.read_bytes()).hexdigest())
    assert provenance.settings["mini_batch_size"] == "2"
