"""A run as an archive: another home takes it in and shows the same, and whatever an archive holds does no harm there."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from services.domain import Metadata, ResourceKind
from services.errors import IntakeError, NotFound, SettingsError, StudioError
from services.handover import archive_format
from services.handover.importing import import_archive
from services.local.workspace import LocalWorkspace
from services.predictions.annotations import Annotation
from services.predictions.filters import EVERY_ROW
from services.run_details import LogQuery, RowKey
from services.run_query import RunQuery
from services.storage.file_tree import walk
from services.storage.store import Store
from tests.contract.conftest import Scored

HOSTILE = """it's "<b>*x*</b>" =1+1 ../ \n%s"""


def exported(scored: Scored, home: Path, target: Path, run: str = "") -> Path:
    """The archive of a run in `home`, a copy of the one that it is in."""
    said = scored.command("--home", home, "export", run or scored.id, "--as", "archive", "--to", target)
    assert said.code == 0, said.err
    return target


@pytest.fixture(scope="session")
def archive(partly_failed, tmp_path_factory) -> Path:
    """Of a run of which one file failed, with notes, labels, a name and tags."""
    folder = tmp_path_factory.mktemp("archived")
    shutil.copytree(partly_failed.home, folder / "home")
    before = LocalWorkspace(folder / "home")
    before.annotations.annotate(partly_failed.id, RowKey("0000.csv", 0, 0), Annotation(HOSTILE, "2"))
    before.resources.change(ResourceKind.RUN, partly_failed.id, name="renamed", note=HOSTILE, tags={"team": "a'b"}, pinned=True)
    (folder / "truth.csv").write_text("file,label\n0000.csv,1\n0002.csv,2\n")
    before.add_labels("rows", folder / "truth.csv")
    return exported(partly_failed, folder / "home", folder / "run.zip")


def rows_of(place: LocalWorkspace, run: str) -> list[dict[str, Any]]:
    table = place.runs.predictions(run)
    return table.page(EVERY_ROW, 0, 1000, columns=tuple(table.columns)).to_pylist()


def test_another_home_shows_the_same_run(archive, partly_failed, workspace):
    before, run_id = LocalWorkspace(archive.parent / "home"), partly_failed.id
    run, is_new = import_archive(workspace, archive)
    assert (run.id, run.imported_from, is_new) == (run_id, run_id, True)
    was = before.runs.get(run_id)
    assert replace(run, imported_from=None) == replace(was, request=run.request, metadata=replace(was.metadata, pinned=False))
    assert replace(run.request, submission_id=was.request.submission_id) == was.request
    assert [run.title, workspace.runs.latest()] == ["renamed", [run]]
    assert rows_of(workspace, run_id) == rows_of(before, run_id)
    then, now = before.runs.predictions(run_id), workspace.runs.predictions(run_id)
    assert (now.columns, now.kind, now.own, now.row_counts) == (then.columns, then.kind, then.own, then.row_counts)
    for asked in ("failed_items", "failure_causes", "failures", "activity", "environment", "provenance"):
        assert getattr(workspace.runs, asked)(run_id) == getattr(before.runs, asked)(run_id), asked
    for number in range(3):
        assert workspace.runs.mini_batch(run_id, number) == before.runs.mini_batch(run_id, number)
    assert workspace.annotations.annotations(run_id) == {RowKey("0000.csv", 0, 0): Annotation(HOSTILE, "2")}
    said = Metadata("renamed", HOSTILE.strip(), {"team": "a'b"})
    assert workspace.resources.metadata(ResourceKind.RUN) == {run_id: said}
    (labels,) = workspace.run_labels(run)
    assert (labels.name, labels.count, workspace.find_run_labels(run, labels.id).id) == ("truth.csv", 2, labels.id)
    for files in ("output", "logs"):
        kept = {name: path.read_bytes() for name, path in getattr(before.runs, files)(run_id).items()}
        assert {name: path.read_bytes() for name, path in getattr(workspace.runs, files)(run_id).items()} == kept
    assert workspace.runs.kept_script(run_id).read_bytes() == before.runs.kept_script(run_id).read_bytes()


def test_lists_mark_an_imported_run(archive, partly_failed, command):
    assert command("import", archive).code == 0
    assert "Completed, imported" in command("runs").out
    assert "imported" not in partly_failed.command("runs").out


def test_its_logs_are_searched_as_before(archive, partly_failed, workspace):
    before, run_id = LocalWorkspace(archive.parent / "home"), partly_failed.id
    import_archive(workspace, archive)
    for query in (LogQuery(text="no 0001"), LogQuery(level="ERROR"), LogQuery(text="odd"), LogQuery()):
        then, now = before.runs.search_logs(run_id, query), workspace.runs.search_logs(run_id, query)
        assert sorted((line.text, line.worker, line.level) for line in now.lines) == sorted(
            (line.text, line.worker, line.level) for line in then.lines
        )
    trace = workspace.runs.trace(run_id, RowKey("0001.csv", 1, 0), "node 0, process000")
    assert (trace.input, "ValueError" in trace.error) == (None, True)
    assert "not in the archive" in trace.changed
    assert workspace.runs.input_file(run_id, RowKey("0001.csv", 1, 0), "") is None


def test_the_same_archive_again_changes_nothing(archive, workspace):
    import_archive(workspace, archive)
    before = tree(workspace.home)
    run, is_new = import_archive(workspace, archive)
    assert (is_new, tree(workspace.home)) == (False, before)
    assert workspace.runs.latest() == [run]


def test_another_table_is_another_run(archive, partly_failed, workspace, tmp_path):
    first, _ = import_archive(workspace, archive)
    other = changed(archive, tmp_path / "other.zip", reworded("Prediction", "1", "7"))
    second, is_new = import_archive(workspace, other)
    assert (is_new, second.id != first.id, second.imported_from) == (True, True, partly_failed.id)
    assert {row["Prediction"] for row in rows_of(workspace, first.id)} != {row["Prediction"] for row in rows_of(workspace, second.id)}
    assert import_archive(workspace, changed(archive, tmp_path / "same.zip", rewritten)) == (first, False)


def test_all_attempts_of_a_run_of_many_mini_batches_travel(partly_failed, workspace, monkeypatch, tmp_path):
    monkeypatch.setattr(archive_format, "MOST_WITH_ITEMS", 2)  # of the run's 3
    before, run_id = LocalWorkspace(partly_failed.home), partly_failed.id
    import_archive(workspace, exported(partly_failed, partly_failed.home, tmp_path / "run.zip"))
    assert list(workspace.runs.mini_batches(run_id)) == list(before.runs.mini_batches(run_id))
    for number in range(3):
        detail = before.runs.mini_batch(run_id, number)
        assert workspace.runs.mini_batch(run_id, number) == detail
        assert list(before.runs.mini_batches(run_id))[number] == replace(detail, items=())


def test_an_archive_without_all_attempts_says_so(partly_failed, workspace, monkeypatch, tmp_path):
    monkeypatch.setattr(archive_format, "MOST_WITH_ITEMS", 1)
    monkeypatch.setattr(archive_format, "MOST_MINI_BATCHES", 1)
    target = tmp_path / "some.zip"
    said = partly_failed.command("export", partly_failed.id, "--as", "archive", "--to", target)
    sentence = "The archive has the attempts at 1 of 3 mini-batches."
    assert sentence in said.err
    run, _ = import_archive(workspace, target)
    assert sentence in workspace.runs.activity(run.id).unknown


def test_an_imported_run_is_exported_and_known_again(archive, partly_failed, workspace, tmp_path):
    run, _ = import_archive(workspace, archive)
    again = exported(partly_failed, workspace.home, tmp_path / "again.zip", run.id)
    assert import_archive(workspace, again) == (run, False)
    third = LocalWorkspace(tmp_path / "third")
    taken, is_new = import_archive(third, again)
    assert (is_new, taken.imported_from, rows_of(third, taken.id)) == (True, partly_failed.id, rows_of(workspace, run.id))


def test_an_id_that_is_there_gets_a_new_one(archive, partly_failed, tmp_path):
    shutil.copytree(archive.parent / "home", tmp_path / "home")
    own = LocalWorkspace(tmp_path / "home")
    run, is_new = import_archive(own, archive)
    assert (is_new, run.imported_from) == (True, partly_failed.id)
    assert run.id != partly_failed.id
    assert own.runs.get(partly_failed.id).imported_from is None
    assert rows_of(own, run.id) == rows_of(own, partly_failed.id)
    assert own.annotations.annotations(run.id) == own.annotations.annotations(partly_failed.id)
    assert [score.run.id for score in own.leaderboard("rows").scores] == [partly_failed.id]
    assert own.resources.dependents(ResourceKind.DATASET, "rows").runs == (partly_failed.id,)


# ---- what it is not used for -------------------------------------------------------------------------------------------------------------


def test_nothing_of_an_imported_run_is_executed_or_reused(archive, workspace):
    run, _ = import_archive(workspace, archive)
    for verb in (workspace.runs.resume, lambda id_: workspace.replay(id_, 0)):
        with pytest.raises(StudioError, match="was imported"):
            verb(run.id)
    store = Store(workspace.home)
    assert store.last_completed(run.request) is None
    assert not store.approved(sha256(workspace.runs.kept_script(run.id).read_bytes()).hexdigest())
    with pytest.raises(SettingsError, match="its files are not here"):
        workspace.rerun(run.id, failed_only=True)


def test_a_rerun_says_what_is_not_here_and_works_where_all_is(archive, partly_failed, workspace, finish, tmp_path):
    run, _ = import_archive(workspace, archive)
    with pytest.raises(NotFound, match="no dataset called “rows:1”"):
        workspace.rerun(run.id)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "0000.csv").write_text("9\n")
    workspace.register_dataset("rows", tmp_path / "other")
    with pytest.raises(SettingsError, match="is not the one of the imported run"):
        workspace.rerun(run.id)
    shutil.copytree(archive.parent / "home", tmp_path / "copy")
    own = LocalWorkspace(tmp_path / "copy")
    run, _ = import_archive(own, archive)
    with pytest.raises(SettingsError, match=r"the scoring script script\.py of the imported run"):
        own.rerun(run.id)
    kept = own.runs.kept_script(run.id)
    with pytest.raises(SettingsError, match="was not approved"):
        own.submit(replace(run.request, entry_script=str(kept), rerun_of=None))
    uploaded = own.scripts.add("script.py", kept.read_bytes())
    with pytest.raises(SettingsError, match="was not approved"):
        own.rerun(run.id)
    own.approve(uploaded.sha256)
    again = finish(own, own.rerun(run.id).id)
    assert (again.items_succeeded, again.items_failed, again.request.rerun_of) == (2, 1, run.id)


def test_secret_values_are_nowhere_in_an_archive(own_completed_run, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("def run(mini_batch):\n    return [1] * len(mini_batch)\n")
    secrets = ("--environment-variable", "DOOR=sesame-open", "--argument=--api-key", "--argument=s3same-key")
    options = ("--dataset", "rows", "--entry-script", script, *secrets, "--process-count-per-node", 1, "--wait", "--json")
    run = own_completed_run.command("run", *options).json["id"]
    said = own_completed_run.command("export", run, "--as", "archive", "--to", tmp_path / "run.zip")
    assert all(name in said.err for name in ("DOOR", "--api-key", "Left out"))
    with zipfile.ZipFile(tmp_path / "run.zip") as members:
        content = {name: members.read(name) for name in members.namelist()}
    assert not [name for name, data in content.items() if b"sesame-open" in data or b"s3same-key" in data]
    assert not {"environment_variables", "arguments"} & json.loads(content["about.json"])["provenance"]["inputs"].keys()
    other = LocalWorkspace(tmp_path / "other")
    taken, _ = import_archive(other, tmp_path / "run.zip")
    assert taken.request.settings.environment_variables == {"DOOR": "(left out)"}
    own_completed_run.command("export", run, "--as", "archive", "--to", tmp_path / "all.zip", "--with-secrets")
    with zipfile.ZipFile(tmp_path / "all.zip") as members:
        assert b"sesame-open" in members.read("run.json")


def test_a_run_without_rows_keeps_its_failures(own_completed_run, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("def run(mini_batch):\n    raise ValueError('no ' + mini_batch[0][-8:])\n")
    few = ("--process-count-per-node", 1, "--run-max-try", 1, "--error-threshold", -1, "--mini-batch-size", 1)
    options = ("--dataset", "rows", "--entry-script", script, "--output-action", "summary_only", *few, "--wait", "--json")
    run = own_completed_run.command("run", *options).json["id"]
    own_completed_run.command("export", run, "--as", "archive", "--to", tmp_path / "run.zip")
    before, other = LocalWorkspace(own_completed_run.home), LocalWorkspace(tmp_path / "other")
    import_archive(other, tmp_path / "run.zip")
    assert len(other.runs.failed_items(run)) == 3
    assert other.runs.failed_items(run) == before.runs.failed_items(run)
    (cause,) = other.runs.failure_causes(run)
    assert cause == before.runs.failure_causes(run)[0]
    assert len(other.runs.failed_items(run, cause=cause.cause, first=1, count=1)) == 1
    with pytest.raises(NotFound, match="writes its own output"):
        other.runs.predictions(run)


def test_a_run_that_goes_on_is_no_archive_yet(completed_run, tmp_path):
    shutil.copytree(completed_run.home, tmp_path / "home")
    Store(tmp_path / "home").update_run(completed_run.id, status="Running")
    said = completed_run.command("--home", tmp_path / "home", "export", completed_run.id, "--as", "archive", "--to", tmp_path / "x.zip")
    assert (said.code, (tmp_path / "x.zip").exists()) == (2, False)
    assert "has not ended" in said.err


def test_odd_names_in_the_output_arrive_or_are_named(completed_run, workspace, tmp_path):
    shutil.copytree(completed_run.home, tmp_path / "copy")
    output = tmp_path / "copy" / "runs" / completed_run.id / "output"
    arrive = ["a b.txt", "ü'\"=1.txt", "deep/er/x", "line\nbreak", "a:b", "back\\slash"]
    for name in (*arrive, "up\\..\\x", ".DS_Store", os.fsdecode(b"\xff.bin")):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text(repr(name))
    said = completed_run.command("--home", tmp_path / "copy", "export", completed_run.id, "--as", "archive", "--to", tmp_path / "run.zip")
    assert (said.code, ".DS_Store" in said.err, "Left out is" in said.err) == (0, True, True)
    run, _ = import_archive(workspace, tmp_path / "run.zip")
    kept = {name: path.read_text() for name, path in workspace.runs.output(run.id).items()}
    assert {name: kept[name] for name in arrive} == {name: repr(name) for name in arrive}
    assert len(kept) == len(arrive) + 2  # with what run() returned, and the undecodable name written out


def test_a_link_in_the_output_is_not_followed(completed_run, tmp_path):
    shutil.copytree(completed_run.home, tmp_path / "home")
    (tmp_path / "secret.txt").write_text("mine")
    (tmp_path / "home" / "runs" / completed_run.id / "output" / "link.txt").symlink_to(tmp_path / "secret.txt")
    exported(completed_run, tmp_path / "home", tmp_path / "run.zip")
    with zipfile.ZipFile(tmp_path / "run.zip") as members:
        assert "output/link.txt" not in members.namelist()
        assert b"link.txt" in members.read("README.txt")


# ---- a hostile archive -------------------------------------------------------------------------------------------------------------------


def tree(home: Path) -> dict[str, int]:
    """What is kept of runs, and what is coming in: names with sizes."""
    return {f"{part}/{name}": entry.stat().st_size for part in ("runs", "incoming", "scripts") for name, entry in walk(home / part)}


Change = Callable[[dict[str, bytes]], None]


def changed(archive: Path, target: Path, change: Change, *, fix_manifest: bool = True) -> Path:
    """The archive with its files changed; with `fix_manifest` the manifest says what is in it then."""
    with zipfile.ZipFile(archive) as members:
        files = {name: members.read(name) for name in members.namelist()}
    change(files)
    if fix_manifest and "manifest.json" in files:
        manifest = json.loads(files["manifest.json"])
        named = [name for name in files if name != "manifest.json"]
        manifest["files"] = [{"path": n, "size": len(files[n]), "sha256": sha256(files[n]).hexdigest()} for n in named]
        files["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as members, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in files.items():
            members.writestr(name, content)
    return target


def setting(file: str, **values: Any) -> Change:
    def change(files: dict[str, bytes]) -> None:
        files[file] = json.dumps(json.loads(files[file]) | values).encode()

    return change


def with_file(name: str, content: bytes = b"x") -> Change:
    return lambda files: files.update({name: content})


def without(name: str) -> Change:
    return lambda files: files.__delitem__(name) if name in files else None


def activity(**values: Any) -> Change:
    def change(files: dict[str, bytes]) -> None:
        about = json.loads(files["about.json"])
        files["about.json"] = json.dumps(about | {"activity": about["activity"] | values}).encode()

    return change


def table(**notes: str) -> bytes:
    """A table of the rows of no run."""
    out = io.BytesIO()
    rows = pa.table({"File": ["a"], "Prediction": ["b"]}).replace_schema_metadata(notes)
    parquet.write_table(rows, out)
    return out.getvalue()


def attempted(**values: Any) -> bytes:
    """The one attempt at a mini-batch."""
    attempt = {"attempt": 1, "status": "x", "worker": "w", "started_at": None, "seconds": 1.0, "run_seconds": 1.0, "succeeded": 1}
    attempt |= {"failed": 0, "final": True, "error": ""} | values
    return json.dumps({"number": 0, "dataset": "d", "item": "file", "item_count": 1, "items": [], "attempts": [attempt]}).encode()


def retyped(column: str, values: Any) -> Change:
    """One column of the table of another type, or with other values."""

    def change(files: dict[str, bytes]) -> None:
        rows = parquet.read_table(io.BytesIO(files["predictions.parquet"]))
        place, out = rows.schema.get_field_index(column), io.BytesIO()
        values_of = values.take([0] * len(rows)) if isinstance(values, pa.Array) else pa.array(values[:1] * len(rows))
        parquet.write_table(rows.set_column(place, column, values_of), out)
        files["predictions.parquet"] = out.getvalue()

    return change


def reworded(column: str, old: str, new: str) -> Change:
    """A text of a column is another one."""

    def change(files: dict[str, bytes]) -> None:
        rows = parquet.read_table(io.BytesIO(files["predictions.parquet"]))
        place, out = rows.schema.get_field_index(column), io.BytesIO()
        texts = [text.replace(old, new) if text else text for text in rows[column].to_pylist()]
        parquet.write_table(rows.set_column(place, rows.schema.field(place), [pa.array(texts, rows.schema.field(place).type)]), out)
        files["predictions.parquet"] = out.getvalue()

    return change


def rewritten(files: dict[str, bytes]) -> None:
    """The same table, otherwise compressed and divided."""
    rows, out = parquet.read_table(io.BytesIO(files["predictions.parquet"])), io.BytesIO()
    parquet.write_table(rows, out, compression="gzip", row_group_size=1, use_dictionary=False)
    files["predictions.parquet"] = out.getvalue()


def broken_table(files: dict[str, bytes]) -> None:
    content = bytearray(files["predictions.parquet"])
    for place in range(8, len(content) // 2):
        content[place] ^= 0x5A
    files["predictions.parquet"] = bytes(content)


MINI_BATCH = json.dumps({"number": 0, "dataset": "d", "item": "**x**", "item_count": 1, "items": [], "attempts": []}).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_file("../../evil.txt"), "leads out of its folder"),
        (with_file("/etc/evil"), "absolute path"),
        (with_file("output/../../evil"), "leads out of its folder"),
        (with_file("studio.db"), "does not belong in the archive of a run"),
        (with_file("plan.json"), "does not belong in the archive of a run"),
        (with_file("journal.db"), "does not belong in the archive of a run"),
        (with_file("script/deep/x.py"), "does not belong in the archive of a run"),
        (with_file("script/x.py"), "several scoring scripts"),
        (with_file("script/script.py", b"#" * (2 << 20)), "does not belong in the archive of a run"),
        (with_file("labels/labels-x.parquet"), "does not belong in the archive of a run"),
        (with_file("labels/labels-0123456789ab.parquet", b"PAR1" + b"\0" * 50), "can't be read as a table"),
        (without("manifest.json"), "has no manifest.json"),
        (setting("manifest.json", format="other"), "names another format"),
        (setting("manifest.json", version=99), "newer version"),
        (setting("manifest.json", version=0), "The archive’s version is 0, and this program reads version 1"),
        (setting("manifest.json", version="2 <b>"), "The archive’s version is \"2 <b>\", and this program"),
        (setting("manifest.json", version=True), "The archive’s version is true"),
        (without("run.json"), "“run.json” is missing"),
        (without("about.json"), "“about.json” is missing"),
        (with_file("run.json", b"[" * 100_000), "can't be read"),
        (with_file("run.json", b"{}"), "not valid"),
        (with_file("run.json", b'{"a": 1e999}'), "not finite"),
        (with_file("run.json", b"1" + b"0" * 30), "above 10,000,000,000,000"),
        (setting("run.json", paused_seconds=10**18), "above 10,000,000,000,000"),
        (setting("run.json", paused_seconds=10**9), "paused for longer than it ran"),
        (setting("run.json", items_total=10**14), "above 10,000,000,000,000"),
        (with_file("mini_batches.jsonl", attempted(started_at="9999-12-31T23:59:59Z")), "after 2099"),
        (with_file("mini_batches.jsonl", attempted(seconds=1e20)), "above 10,000,000,000,000"),
        (with_file("annotations.jsonl", b'["a", 100000000000000, 0, "b", "c"]\n'), "above 10,000,000,000,000"),
        (setting("run.json", id="../../evil"), "its id is not that of a run"),
        (setting("run.json", status="Running"), "it has not ended"),
        (setting("run.json", status="Evil"), "not valid"),
        (setting("run.json", ended_at="2098-01-01T00:00:00Z"), "in the future"),
        (setting("run.json", ended_at="2999-01-01T00:00:00Z"), "after 2099"),
        (setting("run.json", ended_at="2020-01-01T00:00:00"), "a time without a zone"),
        (setting("run.json", items_succeeded=10**6), "more items were done"),
        (setting("run.json", items_failed=-1), "is negative"),
        (setting("run.json", request={"models": [], "datasets": [], "entry_script": "x"}), "not valid"),
        (activity(begin=-1.0), "times in the archive's activity"),
        (activity(end=1e12), "times in the archive's activity"),
        (activity(workers=[{"name": "w", "spans": [{"state": "run", "begin": 2.0, "end": 1.0}]}]), "times in the archive's activity"),
        (setting("about.json", utc_offset=10**7), "times in the archive's activity"),
        (activity(workers=[{"name": "<b>w", "spans": []}]), "holds more than that of any run"),
        (activity(pace=[{"begin": 1.0, "succeeded": 1, "failed": 0}] * 1001), "holds more than that of any run"),
        (with_file("mini_batches.jsonl", MINI_BATCH), "whether an item is a file or a row"),
        (setting("about.json", item="**evil**"), "whether an item is a file or a row"),
        (setting("about.json", metadata={"note": "x" * 20_000}), "longer than they may be"),
        (with_file("annotations.jsonl", b'["a", 1, true, "b", "c"]\n'), "not valid"),
        (with_file("annotations.jsonl", b'["a", 1, 2]\n'), "not valid"),
        (with_file("mini_batches.jsonl", b"{}\n"), "not valid"),
        (with_file("predictions.parquet", b"not Parquet"), "can't be read as a table"),
        (with_file("predictions.parquet", b"PAR1" + os.urandom(64) + b"PAR1"), "can't be read as a table"),
        (with_file("predictions.parquet", table()), "can't be read as a table"),
        (with_file("predictions.parquet", table(own="{}", columns="{}")), "its own columns are not named"),
        (retyped("Mini-batch", ["x"]), "its column Mini-batch is of another type"),
        (retyped("Mini-batch", [10**15]), "its column Mini-batch has a value out of range"),
        (retyped("Seconds", [1e300]), "its column Seconds has a value out of range"),
        (retyped("Seconds", [float("nan")]), "its column Seconds has a value out of range"),
        (retyped("Scored at", pa.array([2**60], pa.timestamp("us"))), "its column Scored at has a value out of range"),
        (retyped("Status", ["evil"]), "an unknown status"),
        (retyped("Prediction", [{"a": 1}]), "of another type"),
        (broken_table, "can't be read as a table"),
    ],
)  # fmt: skip
def test_a_wrong_archive_is_refused_and_changes_nothing(archive, workspace, tmp_path, change, message):
    before = tree(workspace.home)
    with pytest.raises(IntakeError) as refused:
        import_archive(workspace, changed(archive, tmp_path / "run.zip", change))
    assert message in refused.value.message
    assert (tree(workspace.home), workspace.runs.latest()) == (before, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "run.zip"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_file("output/parallel_run_step.txt"), "SHA-256 is not that of the manifest"),
        (without("predictions.parquet"), "“predictions.parquet” is missing"),
        (with_file("logs/more.txt"), "is not in its manifest"),
    ],
)
def test_what_the_manifest_does_not_say_is_refused(archive, workspace, tmp_path, change, message):
    with pytest.raises(IntakeError, match=message):
        import_archive(workspace, changed(archive, tmp_path / "run.zip", change, fix_manifest=False))
    assert workspace.runs.latest() == []


def test_half_an_archive_a_link_and_a_bomb_are_refused(archive, workspace, tmp_path):
    content = archive.read_bytes()
    for length in (0, 10, len(content) // 3, len(content) - 30):
        (tmp_path / "half.zip").write_bytes(content[:length])
        with pytest.raises(IntakeError) as refused:
            import_archive(workspace, tmp_path / "half.zip")
        assert refused.value.hint == "Choose a file that was exported as an archive."
    shutil.copyfile(archive, tmp_path / "link.zip")
    link = zipfile.ZipInfo("output/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "a") as members:
        members.writestr(link, "/etc/passwd")
    with pytest.raises(IntakeError, match="is a link"):
        import_archive(workspace, tmp_path / "link.zip")
    bomb = changed(archive, tmp_path / "bomb.zip", with_file("logs/bomb.txt", bytes(64 << 20)))
    with pytest.raises(IntakeError, match="far more than a zip of its size should"):
        import_archive(workspace, bomb)
    with pytest.raises(NotFound):
        import_archive(workspace, tmp_path / "nothing.zip")
    assert (workspace.runs.latest(), list((workspace.home / "runs").iterdir())) == ([], [])


def test_what_fails_at_the_last_step_leaves_nothing(archive, workspace, monkeypatch):
    monkeypatch.setattr(os, "replace", refuse_runs(os.replace))
    with pytest.raises(StudioError, match="The run's folder can't be made"):
        import_archive(workspace, archive)
    monkeypatch.undo()
    assert (tree(workspace.home), workspace.runs.latest()) == ({}, [])
    assert import_archive(workspace, archive).is_new


def test_an_import_that_is_killed_is_there_whole_or_not_at_all(archive, started, workspace, partly_failed):
    for milliseconds in (200, 350, 500, 650, 800, 1000, 1300):
        with started("import", archive) as process:
            try:
                process.wait(milliseconds / 1000)
            except subprocess.TimeoutExpired:
                process.kill()
            process.communicate()
        if runs := workspace.runs.latest():
            assert [run.id for run in runs] == [partly_failed.id]
            assert len(rows_of(workspace, partly_failed.id)) == 3
    run, _ = import_archive(workspace, archive)
    assert run.id == partly_failed.id
    assert [path.name for path in (workspace.home / "runs").iterdir()] == [run.id]


def test_what_an_import_left_that_was_killed_at_the_last_moment_makes_room(archive, workspace, partly_failed):
    left = workspace.home / "runs" / partly_failed.id
    (left / "logs").mkdir(parents=True)
    run, _ = import_archive(workspace, archive)
    assert (run.id, (left / "about.json").is_file()) == (partly_failed.id, True)


def test_a_file_of_this_machine_is_not_exported_as_the_script(archive, workspace, tmp_path, partly_failed):
    (tmp_path / "mine.py").write_text("def run(m): return ['my secret']")

    def hostile(files: dict[str, bytes]) -> None:
        run = json.loads(files["run.json"])
        run["request"] |= {"entry_script": str(tmp_path / "mine.py"), "source_directory": str(tmp_path)}
        files["run.json"] = json.dumps(run).encode()
        del files["script/script.py"]

    run, _ = import_archive(workspace, changed(archive, tmp_path / "run.zip", hostile))
    said = partly_failed.command("--home", workspace.home, "export", run.id, "--as", "sdk-v1", "--to", tmp_path / "x.py")
    assert (said.code, (tmp_path / "x.py").exists()) == (2, False)
    assert "has no scoring script" in said.err


def refuse_runs(replace_file: Callable[..., None]) -> Callable[..., None]:
    """A disk that is full when the run's folder comes into place."""

    def replaced(source: Any, target: Any) -> None:
        if Path(target).parent.name == "runs":
            raise OSError(28, "No space left on device")
        replace_file(source, target)

    return replaced


def test_texts_of_an_archive_stay_texts(archive, workspace, tmp_path):
    def hostile(files: dict[str, bytes]) -> None:
        run = json.loads(files["run.json"])
        run["request"] |= {"name": HOSTILE, "entry_script": f"/x/{HOSTILE}", "models": [HOSTILE], "datasets": ["../../x:1", "a:1\udcff"]}
        run |= {"error": HOSTILE, "warnings": [HOSTILE], "reused_from": "../../x", "reuse_note": HOSTILE}
        files["run.json"] = json.dumps(run).encode()

    run, _ = import_archive(workspace, changed(archive, tmp_path / "run.zip", hostile))
    assert (run.title, run.error, run.warnings, run.reused_from) == ("renamed", HOSTILE, (HOSTILE,), "../../x")
    assert asdict(workspace.runs.get(run.id))["request"]["models"] == (HOSTILE,)
    assert workspace.runs.kept_script(run.id).is_relative_to(workspace.home / "runs" / run.id)
    assert not [path for path in workspace.home.rglob("*") if "evil" in path.name]


@pytest.mark.parametrize("named", ["../../mine:data", "x:../rows", ":", f"rows:{'9' * 20}", "rows:1"])
def test_deleting_an_imported_run_deletes_nothing_that_it_names(archive, workspace, csv_folder, tmp_path, named):
    def naming(files: dict[str, bytes]) -> None:
        run = json.loads(files["run.json"])
        files["run.json"] = json.dumps(run | {"request": run["request"] | {"datasets": [named], "side_inputs": {"a": named}}}).encode()

    (workspace.home.parent / "mine" / "data").mkdir(parents=True)
    workspace.register_dataset("rows", csv_folder(1))
    run, _ = import_archive(workspace, changed(archive, tmp_path / "run.zip", naming))
    workspace.resources.delete(ResourceKind.RUN, [run.id])
    assert workspace.runs.latest() == []
    assert (workspace.home.parent / "mine" / "data").is_dir()
    assert Path(workspace.dataset("rows:1").manifest).is_file()


def test_half_a_character_in_an_archive_is_shown_written_out(archive, workspace, tmp_path):
    def halved(files: dict[str, bytes]) -> None:
        run, about = json.loads(files["run.json"]), json.loads(files["about.json"])
        request = run["request"] | {name: ["\ud800:1"] for name in ("models", "datasets")}
        files["run.json"] = json.dumps(run | {"request": request, "error": "\ud800"}).encode()
        said = {"name": "\ud800", "note": "\ud800", "tags": {"\ud800": "\ud800"}}
        files["about.json"] = json.dumps(about | {"metadata": about["metadata"] | said}).encode()

    run, _ = import_archive(workspace, changed(archive, tmp_path / "run.zip", halved))
    text = r"\ud800"
    assert workspace.runs.choices().tags == ((text, text),)
    assert (run.metadata.name, run.metadata.note, run.metadata.tags) == (text, text, {text: text})
    assert [found.id for found in workspace.runs.search(RunQuery(text=text)).runs] == [run.id]
