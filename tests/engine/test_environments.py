"""Environments: the run's own interpreter, what is recorded of it, and what stands in for azureml-core where it lacks that."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from venv import EnvBuilder

import pytest

from services.domain import RunRequest, RunStatus
from services.errors import IntakeError, NotFound, SettingsError, StudioError
from services.local import environments
from services.settings import ParallelRunSettings

ONE_LINE = "import sys\ndef run(mini_batch): return [sys.prefix] * len(mini_batch)"


@pytest.fixture
def venv(tmp_path):
    """`venv("name", package="1.0")` makes a virtual environment of this Python with these packages, by their metadata alone; its python."""

    def make(name="venv", **packages):
        folder = tmp_path / name
        EnvBuilder(symlinks=os.name != "nt").create(folder)
        for package, version in packages.items():
            install(folder, package, version)
        return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    return make


def install(folder, package, version):
    place = next(folder.glob("**/site-packages")) / f"{package}-{version}.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n\nA text.\nName: other\n")


def program(path, source):
    path.write_text(source)
    path.chmod(0o755)
    return path


@pytest.fixture
def score(workspace, csv_folder, entry_script, finish):
    """Score two files by a script, given as source, in an environment; wait for the end."""

    def run(source, **values):
        if not workspace.datasets():
            workspace.register_dataset("d", csv_folder(2))
        settings = ParallelRunSettings(process_count_per_node=1)
        request = RunRequest((), ("d",), str(entry_script(source)), settings, **values)
        return finish(workspace, workspace.submit(request).id)

    return run


def lines(workspace, run):
    assert run.status is RunStatus.COMPLETED, run.error
    return workspace.runs.output(run.id)["parallel_run_step.txt"].read_text().splitlines()


def printed(workspace, run):
    return workspace.runs.logs(run.id)["logs/user/stdout/0/process000.stdout.txt"].read_text()


# ---- registered, used, recorded ----------------------------------------------------------------------------------------------------------


def test_a_run_is_carried_out_by_its_environments_interpreter(workspace, score, venv):
    python = venv()
    workspace.register_environment("small", str(python))
    run = score(ONE_LINE, environment="small")
    assert run.request.environment == "small:1"
    assert lines(workspace, run) == [str(python.parents[1])] * 2


def test_an_environment_is_recorded_with_each_run(workspace, score, venv):
    python = venv(numpy="1.26.4", Scikit_learn="1.4.0")
    registered = workspace.register_environment("pinned", str(python))
    this = "{}.{}.{}".format(*sys.version_info[:3])
    assert (registered.reference, registered.interpreter, registered.python_version) == ("pinned:1", str(python), this)
    assert registered.packages == {"numpy": "1.26.4", "Scikit_learn": "1.4.0"}
    assert workspace.environments() == [registered]

    install(python.parents[1], "pandas", "2.2.0")
    run = score(ONE_LINE, environment="pinned")
    recorded = workspace.runs.environment(run.id)
    assert (recorded.reference, recorded.packages) == ("pinned:1", registered.packages | {"pandas": "2.2.0"})
    kept = json.loads((workspace.home / "runs" / run.id / "plan.json").read_text())["environment"]
    assert (kept["interpreter"], kept["python_version"], kept["packages"]["pandas"]) == (str(python), this, "2.2.0")


def test_a_run_without_an_environment_records_this_programs_own(workspace, score):
    recorded = workspace.runs.environment(score(ONE_LINE).id)
    assert (recorded.reference, recorded.interpreter) == ("", sys.executable)
    assert recorded.packages["pytest"] == pytest.__version__


def test_a_version_of_an_environment_stays_what_it_was(workspace, score, venv):
    workspace.register_environment("e", str(venv("one")))
    workspace.register_environment("e", str(venv("two")))
    assert lines(workspace, score(ONE_LINE, environment="e:1"))[0].endswith("one")
    assert lines(workspace, score(ONE_LINE, environment="e"))[0].endswith("two")


def test_other_versions_than_those_of_the_last_good_run_are_warned_about(workspace, score, venv):
    python = venv(numpy="1.26.4", scipy="1.0", same="1")
    workspace.register_environment("e", str(python))
    first = score(ONE_LINE, environment="e")
    assert first.warnings == ()
    score("def run(mini_batch): raise ValueError", environment="e")
    packages = next(python.parents[1].glob("**/site-packages"))
    (packages / "numpy-1.26.4.dist-info" / "METADATA").write_text("Name: numpy\nVersion: 2.1.0\n")
    (packages / "scipy-1.0.dist-info").rename(packages / "scipy-1.0.gone")
    install(python.parents[1], "zarr", "3.0")
    assert score(ONE_LINE, environment="e").warnings == (
        f"The environment differs from that of {first.id}, the last such run that completed: numpy 1.26.4 → 2.1.0, scipy gone, zarr added.",
    )
    assert score(ONE_LINE + "\n", environment="e").warnings == ()


def test_an_environment_is_named_by_its_folder_or_by_a_command_as_well(workspace, venv, monkeypatch):
    python = venv()
    assert workspace.register_environment("folder", str(python.parents[1])).interpreter == str(python)
    monkeypatch.setenv("PATH", str(python.parent))
    assert workspace.register_environment("command", "python").interpreter == str(python)


# ---- refused -----------------------------------------------------------------------------------------------------------------------------


def test_a_missing_interpreter_is_an_error_before_submission(workspace, score, venv):
    python = venv()
    workspace.register_environment("e", str(python))
    python.unlink()
    with pytest.raises(NotFound, match=r"environment e:1 can't be used. There is no Python interpreter at") as caught:
        score(ONE_LINE, environment="e")
    assert caught.value.hint
    assert workspace.runs.latest() == []


def test_a_run_whose_interpreter_is_gone_is_not_resumed(workspace, score, venv):
    python = venv()
    workspace.register_environment("e", str(python))
    run = score("def run(mini_batch): raise ValueError", environment="e")
    python.unlink()
    with pytest.raises(NotFound, match="There is no Python interpreter at"):
        workspace.runs.resume(run.id)
    assert workspace.runs.get(run.id).status is RunStatus.FAILED


NO_PYTHON = {
    "one that says nothing": ("#!/bin/sh\n", "did not respond as a Python interpreter: it printed nothing"),
    "one that says something else": ("#!/bin/sh\necho hello; echo 'installed: {'\n", "did not respond as a Python interpreter: hello"),
    "one that fails": ("#!/bin/sh\necho no libpython >&2; exit 127\n", "no libpython"),
    "one that never stops talking": ("#!/bin/sh\nexec yes\n", "did not respond as a Python interpreter: y"),
    "one that is too old": (
        "#!/bin/sh\necho 'installed: {\"python_version\": \"3.7.16\"}'\n",
        "is Python 3.7.16, and workers need 3.8 or newer",
    ),
    "no program at all": ("\0\1\2", "does not run"),
}  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="shell scripts")
@pytest.mark.parametrize(("source", "words"), NO_PYTHON.values(), ids=NO_PYTHON)
def test_what_is_no_usable_interpreter_is_refused_and_said_why(workspace, tmp_path, source, words):
    with pytest.raises(IntakeError) as caught:
        workspace.register_environment("e", str(program(tmp_path / "python", source)))
    assert words in caught.value.message
    assert caught.value.hint
    assert workspace.environments() == []


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_an_interpreter_that_never_answers_is_given_up_with_all_it_started(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "ANSWERS_WITHIN", 0.2)
    with pytest.raises(IntakeError, match=r"did not answer within 0.2 seconds"):
        workspace.register_environment("e", str(program(tmp_path / "python", "#!/bin/sh\nsleep 600 & sleep 600\n")))


@pytest.mark.parametrize("given", ["no-such-command", "/no/such/python", "", "a\0b"])
def test_an_interpreter_that_is_not_there_is_said_by_its_path(workspace, given):
    with pytest.raises(StudioError, match=r"There is no Python interpreter at|can't be executed|No path is given"):
        workspace.register_environment("e", given)
    assert workspace.environments() == []


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_a_file_that_can_not_be_executed_is_refused(workspace, tmp_path):
    (tmp_path / "python").touch(mode=0o644)
    with pytest.raises(IntakeError, match="can't be executed"):
        workspace.register_environment("e", str(tmp_path / "python"))


def test_a_name_that_is_no_name_is_refused(workspace):
    with pytest.raises(SettingsError) as caught:
        workspace.register_environment("a:b", sys.executable)
    assert caught.value.field == "name"


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_a_probed_interpreter_gets_no_credentials_and_no_modules_of_ours(workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "s3cret")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    note = tmp_path / "note"
    quoted_note, quoted_python = shlex.quote(str(note)), shlex.quote(sys.executable)
    asked = program(tmp_path / "python", f'#!/bin/sh\nenv > {quoted_note}\nexec {quoted_python} "$@"\n')
    workspace.register_environment("e", str(asked))
    assert "s3cret" not in note.read_text()
    assert "PYTHONPATH" not in note.read_text()


# ---- azureml.core, real and standing in --------------------------------------------------------------------------------------------------

USES_THE_SDK = """
    import os
    from azureml.core import Model, Run
    from azureml.core.model import Model as SameModel
    run_context = Run.get_context()
    def init():
        global path
        assert SameModel is Model
        run_context.log("started", 1)
        path = Model.get_model_path("classifier")
    def run(mini_batch):
        old = Model.get_model_path("classifier", version=1)
        return [f"{type(run_context).__name__} {path} {open(old).read()} {open(path).read()}" for _ in mini_batch]
"""


@pytest.fixture
def two_versions(workspace, tmp_path):
    for text in ("old", "new"):
        (tmp_path / "model.txt").write_text(text)
        workspace.register_model("classifier", tmp_path / "model.txt", approve=True, tags={"stage": text})
    return ("classifier:1", "classifier:2")


def test_the_real_sdk_wins_where_it_is_installed(workspace, csv_folder, entry_script, finish, two_versions):
    workspace.register_dataset("d", csv_folder(1))
    source = USES_THE_SDK + "    import azureml.core\n    assert 'site-packages' in azureml.core.__file__, azureml.core.__file__\n"
    request = RunRequest(two_versions, ("d",), str(entry_script(source)), ParallelRunSettings(process_count_per_node=1))
    run = finish(workspace, workspace.submit(request).id)
    assert lines(workspace, run) == ["_OfflineRun azureml-models/classifier/2/model.txt old new"]
    assert "Attempted to log scalar metric started:\n1" in printed(workspace, run)


def test_an_interpreter_without_the_sdk_gets_the_same_from_what_stands_in(workspace, csv_folder, entry_script, finish, two_versions, venv):
    workspace.register_environment("small", str(venv()))
    workspace.register_dataset("d", csv_folder(1))
    settings = ParallelRunSettings(process_count_per_node=1)
    request = RunRequest(two_versions, ("d",), str(entry_script(USES_THE_SDK)), settings, environment="small")
    run = finish(workspace, workspace.submit(request).id)
    assert lines(workspace, run) == ["_OfflineRun azureml-models/classifier/2/model.txt old new"]
    assert "Attempted to log scalar metric started:\n1" in printed(workspace, run)


ASKS_THE_WORKSPACE = """
    import os
    from azureml.core import Model, Run
    def said(function, *args, **kwargs):
        try: return function(*args, **kwargs)
        except Exception as error: return " ".join(f"{type(error).__name__}: {error}".split())
    def run(mini_batch):
        run, online = Run.get_context(), Run.get_context(allow_offline=False)
        ws = online.experiment.workspace
        model = Model(ws, "classifier")
        copies = [model.download("here"), model.download("here", exist_ok=True), open("here/model.txt").read()]
        return [
            (run.experiment.name, ws.name, run.get_status(), run.parent.id in os.getcwd(), run.parent.parent, dict(run.input_datasets)),
            [(m.id, m.tags["stage"], type(m) is Model) for m in Model.list(ws)],
            [m.id for m in Model.list(ws, "classifier", tags=[["stage", "old"]])],
            [m.id for m in Model.list(ws, tags=["stage"], latest=True)],
            [m.id for m in Model.list(ws, name="ghost")],
            (model.version, Model(ws, id="classifier:1").tags, list(ws.models), copies),
            [Model.get_model_path("classifier"), Model.get_model_path("classifier", _workspace=ws)],
            said(Model, ws, "ghost"),
            said(model.download, "here"),
            said(lambda: ws.get_default_datastore()),
            said(lambda: online.get_secret("name")),
        ]
"""


@pytest.mark.parametrize("sdk", ["the real SDK", "the stand-in"])
def test_a_script_may_ask_the_runs_workspace_for_its_models(workspace, csv_folder, entry_script, finish, two_versions, venv, sdk):
    folder = csv_folder(1)
    workspace.register_dataset("d", folder)
    environment = workspace.register_environment("small", str(venv())).reference if sdk == "the stand-in" else None
    settings = ParallelRunSettings(process_count_per_node=1)
    request = RunRequest(
        two_versions, ("d",), str(entry_script(ASKS_THE_WORKSPACE)), settings, side_inputs={"ref": "d"}, environment=environment
    )
    run = finish(workspace, workspace.submit(request).id)
    answers = lines(workspace, run)
    assert answers[:7] == [
        str(("batch-scoring", "local", "Running", True, None, {"ref": str(folder)})),
        "[('classifier:2', 'new', True), ('classifier:1', 'old', True)]",
        "['classifier:1']",
        "['classifier:2']",
        "[]",
        "(2, {'stage': 'old'}, ['classifier'], ['here/model.txt', 'here/model.txt', 'new'])",
        "['azureml-models/classifier/2/model.txt', 'azureml-models/classifier/2/model.txt']",
    ]
    no_model = "this run has no model ghost; its models: classifier:2, classifier:1. Choose it as a model of the run."
    not_here = "has no meaning here: this run is executed on this machine, not by Azure ML"
    assert no_model in answers[7]
    assert "File already exists. To overwrite, set exist_ok to True." in answers[8]
    assert answers[9:] == [f"AttributeError: Workspace.get_default_datastore {not_here}", f"AttributeError: Run.get_secret {not_here}"]


def test_a_model_that_the_run_does_not_have_is_said_by_its_name(workspace, score, venv):
    workspace.register_environment("small", str(venv()))
    run = score("from azureml.core import Model\nModel.get_model_path('ghost')\ndef run(m): return m", environment="small")
    assert run.error_code == "EntryScriptError"
    assert "ModelNotFoundException: Model ghost not found in cache at azureml-models" in run.error


def test_what_only_the_real_sdk_has_is_said_with_how_to_get_it(workspace, score, venv):
    workspace.register_environment("small", str(venv()))
    run = score("from azureml.core import Workspace\ndef run(m): return m", environment="small")
    assert "has no 'Workspace'" in run.error
    assert "pip install azureml-core" in run.error


OTHER_PACKAGES = {
    "packages that share azureml by extend_path": (
        "__path__ = __import__('pkgutil').extend_path(__path__, __name__)",
        "mlflow",
        "stand-in",
    ),
    "packages that share azureml as a namespace": (None, "mlflow", "stand-in"),
    "a package that has azureml for itself, as azureml-ai-monitoring": ("REAL = True", "ai", "stand-in"),
    "a real azureml.core": ("__path__ = __import__('pkgutil').extend_path(__path__, __name__)", "core", "real"),
    "a real azureml.core in a namespace": (None, "core", "real"),
}


@pytest.mark.parametrize(("init", "package", "which"), OTHER_PACKAGES.values(), ids=OTHER_PACKAGES)
def test_what_stands_in_hides_no_real_package(tmp_path, init, package, which):
    (tmp_path / "azureml" / package).mkdir(parents=True)
    (tmp_path / "azureml" / package / "__init__.py").write_text("REAL = True")
    if init:
        (tmp_path / "azureml" / "__init__.py").write_text(init)
    code = f"""
import sys
sys.path.insert(0, {str(Path(environments.__file__).parent)!r})
from worker import StandInFinder
sys.path[0] = {str(tmp_path)!r}
sys.meta_path.append(StandInFinder)
import azureml.core, azureml.{package}
assert azureml.{package}.REAL
print("stand-in" if "Model" in vars(azureml.core) else "real")
"""
    said = subprocess.run([sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == which


def test_the_stand_in_is_found_beside_a_package_that_has_azureml_for_itself(workspace, score, venv):
    python = venv()
    package = next(python.parents[1].glob("**/site-packages")) / "azureml"
    (package / "ai").mkdir(parents=True)
    for folder in (package, package / "ai"):
        (folder / "__init__.py").write_text("REAL = True")
    workspace.register_environment("small", str(python))
    run = score("import azureml.ai\nfrom azureml.core import Model\ndef run(m): return [Model.__module__] * 2", environment="small")
    assert lines(workspace, run) == ["azureml.core.model"] * 2
