"""A run on Azure ML as an archive: a home without Azure imports it, and the workspace's own home imports runs of this machine."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from services.cli.main import _parser
from services.domain import ResourceKind
from services.errors import NotFound, SettingsError, StudioError
from services.handover.exports import ExportKind, export
from services.handover.importing import import_archive
from services.predictions.filters import EVERY_ROW
from services.report import report

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own


def archive_of(place, run_id, target):
    with open(target, "wb") as file:
        export(place, run_id, ExportKind.ARCHIVE, file, report=lambda request: report(place, run_id, request=request))
    return target


def rows_of(place, run_id):
    table = place.runs.predictions(run_id)
    return table.page(EVERY_ROW, 0, 100, columns=tuple(table.columns)).to_pylist()


def test_a_run_of_azure_is_shown_the_same_by_a_home_without_it(of_nightly, nightly, workspace, tmp_path):
    run, is_new = import_archive(workspace, archive_of(of_nightly, nightly.run.id, tmp_path / "run.zip"))
    assert (is_new, run.imported_from) == (True, nightly.run.id)
    was = of_nightly.runs.get(nightly.run.id)
    assert replace(run, imported_from=None) == replace(was, request=run.request)
    assert rows_of(workspace, run.id) == rows_of(of_nightly, was.id)
    for asked in ("failed_items", "failure_causes", "failures", "activity", "provenance"):
        assert getattr(workspace.runs, asked)(run.id) == getattr(of_nightly.runs, asked)(was.id), asked
    environment = of_nightly.runs.environment(was.id)  # that of a run which names none is as old as the question
    assert workspace.runs.environment(run.id) == replace(environment, created_at=workspace.runs.environment(run.id).created_at)
    assert workspace.runs.mini_batch(run.id, 0) == of_nightly.runs.mini_batch(was.id, 0)
    every = list(of_nightly.runs.mini_batches(was.id))
    assert every == [of_nightly.runs.mini_batch(was.id, number) for number in range(was.mini_batches_total)]
    then, now = (place.runs.search_logs(run.id) for place in (of_nightly, workspace))
    assert [line.text for line in now.lines] == [line.text for line in then.lines]
    assert workspace.runs.logs(run.id).keys() == of_nightly.runs.logs(was.id).keys()
    with pytest.raises(NotFound, match="clf"):
        workspace.rerun(run.id)


def test_an_azure_workspace_takes_in_an_archive_too(of_nightly, nightly, tmp_path):
    run, is_new = import_archive(of_nightly, archive_of(of_nightly, nightly.run.id, tmp_path / "run.zip"))
    assert (is_new, run.imported_from, run.id != nightly.run.id) == (True, nightly.run.id, True)
    assert rows_of(of_nightly, run.id) == rows_of(of_nightly, nightly.run.id)
    assert of_nightly.pipelines.of(run.id) is None
    with pytest.raises(StudioError, match="was imported"):
        of_nightly.runs.resume(run.id)
    with pytest.raises(SettingsError, match="is not here"):
        of_nightly.rerun(run.id)
    assert of_nightly.resources.delete(ResourceKind.RUN, [run.id]) > 0


def test_the_command_line_of_a_run_on_azure_names_the_workspace_and_its_cluster(of_nightly, nightly, tmp_path):
    with open(tmp_path / "run.sh", "wb") as file:
        export(of_nightly, nightly.run.id, ExportKind.CLI, file, report=lambda _: b"")
    text = (tmp_path / "run.sh").read_text()
    words = shlex.split(text[text.rindex("\nstudio ") :].replace("\\\n", " "))
    args = _parser().parse_args(words[1:-1])
    assert (args.workspace, args.model, args.dataset, args.compute_target) == ("azure", ["clf:1"], ["rows:1"], "cpu-cluster")
    assert f"BATCH_SCORING_HOME={shlex.quote(str(nightly.home))}\n" in text
