"""What an entry script finds when it is called: arguments, environment, folders, modules, models, logs."""

import re
from pathlib import Path

from services.domain import RunRequest, RunStatus
from services.settings import ParallelRunSettings
from tests.engine.run_artifacts import printed, rows

NAMES = """
    import os
    def run(mini_batch):
        return [os.path.basename(path) for path in mini_batch]
"""


def test_arguments_come_after_the_reserved_ones_for_parse_known_args(workspace, score):
    run = score(
        """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--mini_batch_size", type=int)
        parser.add_argument("--error_threshold", type=int)
        parser.add_argument("--label")
        known, _ = parser.parse_known_args()
        def run(mini_batch): return [f"{known.mini_batch_size} {known.error_threshold} {known.label}"] * len(mini_batch)
        """,
        1,
        arguments=("--label", "two words"),
    )
    assert rows(workspace, run)[1] == ["5 -1 two words"]


def test_the_documented_example_of_arguments_works(workspace, csv_folder, entry_script, finish):
    section = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8").partition("### Arguments and folders")[2]
    example = section.partition("```python")[2].partition("```")[0]
    labels = csv_folder(0, "labels")
    (labels / "names.txt").write_text("cat dog")
    workspace.register_dataset("class-names", labels)
    workspace.register_dataset("d", csv_folder(1))
    printed_arguments = example + "\nimport sys\nprint(*sys.argv[1::2])\n"
    settings = ParallelRunSettings(process_count_per_node=1, allowed_failed_count=1, allowed_failed_percent=5)
    arguments, side_inputs = ("--threshold", "0.8"), {"labels": "class-names"}
    request = RunRequest((), ("d",), str(entry_script(printed_arguments)), settings, arguments=arguments, side_inputs=side_inputs)
    run = finish(workspace, workspace.submit(request).id)
    assert rows(workspace, run)[1] == ["0000.csv: cat"]
    assert workspace.runs.output(run.id)["0000.csv.note"].read_text() == "threshold 0.8"
    documented = set(re.findall(r"`--(\w+)`", section.partition("With `")[0])) - {"NAME"}
    assert {*printed(workspace, run).split(), "--partition_keys"} == {f"--{name}" for name in documented} | {"--labels", "--threshold"}


def test_the_environment_holds_the_runs_variables_and_no_credentials(workspace, score, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "s3cret")
    monkeypatch.setenv("MY_API_TOKEN", "s3cret")
    run = score(
        "import os\ndef run(mini_batch): return [os.environ['COLOUR'] + str('s3cret' in os.environ.values())]",
        1,
        environment_variables={"COLOUR": "blue"},
    )
    assert rows(workspace, run)[1] == ["blueFalse"]


def test_a_worker_works_in_a_private_folder_and_its_logs_are_kept(workspace, score):
    run = score(
        """
        import os
        def init():
            assert os.listdir(".") == [], os.listdir(".")
            os.makedirs("logs"); open("logs/note.txt", "w").write("kept")
        def run(mini_batch): return mini_batch
        """,
        5,
    )
    assert run.status is RunStatus.COMPLETED, run.error
    kept = [path for name, path in workspace.runs.logs(run.id).items() if name.endswith("note.txt")]
    assert kept[0].read_text() == "kept"


def test_sibling_modules_and_the_source_directory_can_be_imported(workspace, score, entry_script, tmp_path):
    entry_script("WORD = 'sibling'", "neighbour.py")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "deep.py").write_text("WORD = 'deep'")
    run = score(
        "import deep, neighbour, os\ndef run(m): return [deep.WORD + neighbour.WORD + os.path.basename(__file__)]",
        1,
        source_directory=str(tmp_path / "source"),
    )
    assert rows(workspace, run)[1] == ["deepsiblingscript.py"]


def test_a_neighbour_may_be_called_like_a_part_of_the_runtime(workspace, score, entry_script):
    for name in ("worker", "worker_inputs", "frame_rows"):
        entry_script(f"WORD = {name!r}", f"{name}.py")
    run = score("import worker, worker_inputs, frame_rows\ndef run(m): return [worker.WORD + worker_inputs.WORD + frame_rows.WORD]", 1)
    assert rows(workspace, run)[1] == ["workerworker_inputsframe_rows"]


def test_nothing_of_the_runtime_can_be_imported_by_mistake(score):
    run = score("import batching\ndef run(mini_batch): return mini_batch", 1)
    assert run.error_code == "ModuleNotFoundError"


def test_azureml_user_parallel_run_works(workspace, score):
    run = score(
        """
        import os
        from azureml_user.parallel_run import EntryScript
        def init():
            script = EntryScript()
            assert script is EntryScript()
            script.logger.info("hello from %s", script.agent_name)
            assert script.output_dir == os.environ["AZUREML_BI_OUTPUT_PATH"]
            assert os.path.isdir(script.log_dir) and script.working_dir == os.getcwd()
        def run(mini_batch): return mini_batch
        """,
        5,
    )
    assert run.status is RunStatus.COMPLETED, run.error
    assert "hello from process000" in printed(workspace, run, "entry_script_log")


def test_the_model_is_found_by_environment_variable_and_by_the_real_sdk(workspace, score, model_file):
    workspace.register_model("classifier", model_file, approve=True)
    run = score(
        """
        import os, joblib
        from azureml.core import Model
        path = Model.get_model_path("classifier")
        model = joblib.load(path)
        def run(mini_batch):
            folder = os.environ["AZUREML_MODEL_DIR"]
            return [f"{os.path.basename(path)} {os.listdir(folder)} {type(model).__name__}"]
        """,
        1,
        models=["classifier"],
        process_count_per_node=1,
    )
    assert run.status is RunStatus.COMPLETED, run.error
    assert rows(workspace, run)[1] == ["model.joblib ['model.joblib'] LogisticRegression"]


def test_prints_and_logging_land_in_that_workers_files(workspace, score):
    run = score(
        """
        import logging
        def run(mini_batch):
            print("printed"); logging.info("logged"); logging.debug("not shown")
            return mini_batch
        """,
        1,
    )
    assert printed(workspace, run) == "printed\n"
    assert "INFO root: logged" in printed(workspace, run, "stderr")
    assert "not shown" not in printed(workspace, run, "stderr")


def test_each_worker_gets_one_gpu_and_its_replacement_the_same(workspace, score, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-8f6a")
    run = score(
        """
        import os, pathlib, time
        agent, out = os.environ["BATCH_SCORING_AGENT_NAME"], pathlib.Path(os.environ["AZUREML_BI_OUTPUT_PATH"])
        def run(mini_batch):
            (out / agent).touch()
            while len(list(out.glob("process*"))) < 3: time.sleep(0.01)
            try: (out / f"died {agent}").touch(exist_ok=False)
            except FileExistsError: return [f"{agent} {os.environ['CUDA_VISIBLE_DEVICES']}"] * len(mini_batch)
            os._exit(1)
        """,
        30,
        process_count_per_node=3,
    )
    assert run.status is RunStatus.COMPLETED, run.error
    assert {*rows(workspace, run)[1]} <= {"process000 4", "process001 GPU-8f6a", "process002 "}
    assert sum(name.startswith("died") for name in workspace.runs.output(run.id)) == 3


def test_one_process_is_the_default_on_a_machine_with_a_gpu(workspace, score, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    run = score("import os\ndef run(m): return [os.environ['CUDA_VISIBLE_DEVICES']] * len(m)", process_count_per_node=None)
    assert {*rows(workspace, run)[1]} == {"0"}
    assert len([name for name in workspace.runs.logs(run.id) if "user/stdout/" in name]) == 1


def test_the_runs_own_choice_of_gpus_wins(workspace, score, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    own = {"CUDA_VISIBLE_DEVICES": "0,1"}
    run = score("import os\ndef run(m): return [os.environ['CUDA_VISIBLE_DEVICES']] * len(m)", environment_variables=own)
    assert {*rows(workspace, run)[1]} == {"0,1"}
