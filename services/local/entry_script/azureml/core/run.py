"""`Run.get_context`, as azureml-core 1.62 does it where the run is not Azure's: what is logged is printed."""

import uuid

from azureml_user.local_run import RunAnswers


class Run:
    """Only `Run.get_context()` is there."""

    @classmethod
    def get_context(cls, allow_offline=True, used_for_context_manager=False, **kwargs):
        """The run as a script sees it off Azure, whatever `allow_offline` says: it is a run, though of this machine."""
        return _OfflineRun(**kwargs)


def _logs(kind):
    def log(self, name, value, description=None):
        print(f"Attempted to log {kind} metric {name}:\n{value}")

    return log


class _OfflineRun(RunAnswers):
    def __init__(self, parent_logger=None, run_id=None, **kwargs):
        self.id = run_id or f"OfflineRun_{uuid.uuid4()}"

    log, log_list, log_table = _logs("scalar"), _logs("list"), _logs("table")
    log_residuals, log_predictions = _logs("residual"), _logs("predictions")
    log_accuracy_table, log_confusion_matrix = _logs("accuracy_table"), _logs("confusion_matrix")

    def log_row(self, name, description=None, **kwargs):
        _logs("row")(self, name, kwargs)

    def log_image(self, name, path=None, plot=None, description=""):
        _logs("image")(self, name, plot or path)

    def upload_folder(self, name, path, datastore_name=None):
        print(f"Attempted to track folder {name} at {path}")

    def upload_files(self, name, paths, return_artifacts=False, timeout_seconds=None, datastore_name=None):
        print(f"Attempted to track files {name} at {paths} with timeout {timeout_seconds}s")

    def upload_file(self, name, path_or_stream, datastore_name=None):
        print(f"Attempted to track file {name} at {path_or_stream}")

    def add_properties(self, properties):
        print(f"Attempted to add properties {properties}")

    def set_tags(self, tags):
        print(f"Attempted to set tags {tags}")

    def tag(self, name, value=None):
        print(f"Attempted to add tag {name} with value {value}")

    def child_run(self, name=None, run_id=None, outputs=None):
        return _OfflineRun(run_id=run_id or f"{self.id}.{name or uuid.uuid4()}")

    def complete(self):
        pass

    cancel = complete

    def fail(self, error_details=None, error_code=None):
        print(f"Run failed with error code {error_code}:\n{error_details}")

    def flush(self):
        print(f"Attempted to flush run with id {self.id}")

    def __enter__(self):
        print(f"[START] Run {self.id} context")
        return self

    def __exit__(self, exit_type, value, traceback):
        print(f"[STOP] Run {self.id} context")
