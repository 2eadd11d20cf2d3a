"""A model is loaded in a process of an environment, whatever it does there: never in this one, and never before it is approved."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.errors import IntakeError, NotFound, SettingsError
from services.local import model_inspection
from tests import recorded_models as recorded


class Runs:
    """Executes this Python code as it is unpickled."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self):
        return exec, (self.code,)


@pytest.fixture
def registered(workspace, tmp_path):
    """Register and approve a pickle that executes this code as it is loaded; `registered(code, approve=False)` only registers it."""

    def register(code: str, *, approve: bool = True) -> str:
        path = tmp_path / "model.pkl"
        path.write_bytes(pickle.dumps(Runs(code)))
        return workspace.register_model("m", path, approve=approve).reference

    return register


def test_a_model_says_itself_what_it_is_and_the_answer_is_kept(workspace, model_file):
    workspace.register_model("m", model_file)
    told = workspace.model_card("m")
    assert (told.format, told.task, told.inspected_in, told.framework) == ("scikit-learn", "", None, "scikit-learn")
    workspace.approve(workspace.model("m").sha256)
    card = workspace.inspect_model("m:1")
    assert (card.task, card.classes, card.has_probabilities, card.inspected_in) == ("classification", ("0", "1", "2"), True, "")
    assert (card.feature_count, card.requirements, card.notes) == (told.feature_count, told.requirements, ())
    workspace.register_model("same-file", model_file)
    assert workspace.model_card("m") == workspace.model_card("same-file") == card


def test_a_program_is_not_loaded_before_it_is_approved(workspace, registered, tmp_path):
    reference = registered(f"open({str(tmp_path / 'ran')!r}, 'w')", approve=False)
    assert workspace.model_card(reference).format == "scikit-learn"
    with pytest.raises(SettingsError, match="was not approved yet") as refused:
        workspace.inspect_model(reference)
    assert refused.value.field == "model"
    assert not (tmp_path / "ran").exists()


def test_a_model_that_was_changed_since_its_approval_is_not_loaded(workspace, registered, tmp_path):
    reference = registered("pass")
    path = Path(workspace.model(reference).path)
    path.chmod(0o644)
    path.write_bytes(pickle.dumps(Runs(f"open({str(tmp_path / 'ran')!r}, 'w')")))
    with pytest.raises(IntakeError, match="is not what was registered"):
        workspace.inspect_model(reference)
    assert not (tmp_path / "ran").exists()
    path.unlink()
    with pytest.raises(NotFound):
        workspace.inspect_model(reference)


def test_a_model_runs_in_a_process_of_its_own(workspace, registered, tmp_path):
    note = tmp_path / "ran"
    code = f"import os, sys; open({str(note)!r}, 'w').write(f'{{os.getpid()}}\\n{{os.getsid(0)}}\\n{{os.getcwd()}}\\n{{sys.path[0]}}')"
    with pytest.raises(IntakeError):  # what is loaded is None
        workspace.inspect_model(registered(code))
    pid, session, folder, modules = note.read_text().splitlines()
    assert pid == session != str(os.getpid())
    assert not Path(folder).exists()
    assert Path(modules).name == "batch_scripts"


def test_an_inspection_that_was_killed_does_not_blame_the_model(registered, workspace):
    with pytest.raises(IntakeError, match="ended by signal SIGKILL") as ended:
        workspace.inspect_model(registered("import os; os.kill(os.getpid(), 9)"))
    assert "memory is short" in ended.value.hint


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('not today')", "SystemExit: not today"),
        ("import os; os._exit(7)", "ended with code 7 before it could answer"),
        ("import os; os.write(2, b'last words\\n'); os._exit(1)", "last words"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by signal SIGSEGV"),
        ("raise ValueError('a bad' + ' model\\n' * 300)", "ValueError: a bad model"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("while True: print('x' * 100000)", "took longer than 1 seconds"),
        ("import time; time.sleep(600)", "took longer than 1 seconds"),
        ("x = [bytes(1 << 30) for _ in range(10000)]", "memory"),
    ],
)
def test_whatever_a_model_does_as_it_is_loaded_is_said(workspace, registered, monkeypatch, code, says):
    if "took longer" in says:
        monkeypatch.setattr(model_inspection, "INSPECTED_WITHIN", 1.0)
    with pytest.raises(IntakeError, match="model m:1 could not be loaded in this program’s own environment") as refused:
        workspace.inspect_model(registered(code))
    assert says in refused.value.message
    assert len(refused.value.message) < 1500
    assert "\n" not in refused.value.message
    assert workspace.model_card("m").inspected_in is None


def test_what_a_model_starts_ends_with_its_inspection(workspace, registered, monkeypatch):
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3210.5)']); raise ValueError('x')"
    with pytest.raises(IntakeError):
        workspace.inspect_model(registered(code))
    deadline = time.monotonic() + 10
    while "sleep(3210.5)" in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("answer", ["{", "[1]", '{"card": 5}', '{"message": ""}', "[" * 100_000])
def test_a_forged_answer_is_none(workspace, registered, answer):
    with pytest.raises(IntakeError, match="could not be loaded"):
        workspace.inspect_model(registered(f"import os, sys; open(sys.argv[3], 'w').write({answer!r}); os._exit(0)"))


def test_of_a_forged_card_only_what_can_be_one_is_taken(workspace, registered):
    answer = '{"card": {"format": 7, "classes": {"a": 1}, "inputs": "x", "notes": ["<b>bold</b>"]}}'
    card = workspace.inspect_model(registered(f"import os, sys; open(sys.argv[3], 'w').write({answer!r}); os._exit(0)"))
    assert (card.format, card.classes, card.inputs, card.notes) == ("scikit-learn", (), (), ("<b>bold</b>",))


def test_a_model_of_an_older_scikit_learn_says_so(workspace, tmp_path):
    (tmp_path / "m.pkl").write_bytes(recorded.SKLEARN_1_3)
    workspace.register_model("old", tmp_path / "m.pkl", approve=True)
    first = workspace.model_card("old")
    (warning,) = first.warnings
    assert warning.startswith("Made with scikit-learn 1.3.2, and this program’s own environment has 1.")
    assert first.notes[0].endswith("environment create NAME --for-model old:1")
    card = workspace.inspect_model("old")
    assert [(one.name, one.type) for one in card.inputs][2] == ("plan", "text")
    assert (card.classes, card.framework_version, card.warnings) == (("leave", "stay"), "1.3.2", (warning,))
    assert card.notes == first.notes


def test_a_missing_package_is_named_and_the_file_s_card_stays(workspace, tmp_path):
    (tmp_path / "m.json").write_bytes(recorded.XGBOOST_JSON)
    workspace.register_model("boosted", tmp_path / "m.json")
    card = workspace.inspect_model("boosted")
    assert (card.inspected_in, card.classes, card.feature_count) == (None, ("0", "1"), 2)
    assert card.warnings[0].startswith("Needs xgboost, which this program’s own environment does not have")
    assert card == workspace.model_card("boosted")
    (tmp_path / "own.pkl").write_bytes(b"\x80\x04cmy_company_models\nChurn\n)\x81.")
    workspace.register_model("own", tmp_path / "own.pkl", approve=True)
    warnings = workspace.inspect_model("own").warnings
    assert warnings == ("Needs the module my_company_models, which this program’s own environment does not have",)


def test_each_environment_has_a_card_of_its_own(workspace, model_file):
    workspace.register_model("m", model_file, approve=True)
    workspace.register_environment("same", sys.executable)
    card = workspace.inspect_model("m", "same")
    assert card.inspected_in == "same:1"
    assert workspace.model_card("m", "same:1") == card
    assert workspace.model_card("m").inspected_in is None
    with pytest.raises(NotFound):
        workspace.model_card("m", "none")
    with pytest.raises(NotFound):
        workspace.inspect_model("none")
