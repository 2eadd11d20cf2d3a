"""Model: `get_model_path`, as azureml-core 1.62 does it where there is no workspace; the others answer for the run's own models."""

import os

from azureml_user import local_run

MODELS_DIR = "azureml-models"


class ModelNotFoundException(Exception):
    """The run has no such model, or not in that version."""


class WebserviceException(Exception):
    """The version is no whole number, or what the folder of a version holds is not one file or folder."""


class Model(local_run.OfThisMachine):
    """Models of the run, found in `azureml-models/<name>/<version>/` of the working folder."""

    def __init__(self, workspace, *args, **kwargs):
        """One model of the run's workspace, by the parameters of azureml-core: `Model(workspace, "name")` is its newest version."""
        local_run.fill(self, workspace, local_run.find_one(WebserviceException, *args, **kwargs))

    @classmethod
    def list(cls, workspace, *args, **kwargs):
        """The models of the run, newest first, by the parameters of azureml-core."""
        return [local_run.fill(cls.__new__(cls), workspace, facts) for facts in local_run.find_all(*args, **kwargs)]

    def download(self, target_dir=".", exist_ok=False, exists_ok=None):
        """Copy the model's file or folder below `target_dir`; its path there."""
        return local_run.download(self, target_dir, exist_ok or exists_ok, WebserviceException)

    def __repr__(self):
        about = f"name={self.name}, id={self.id}, version={self.version}, tags={self.tags}, properties={self.properties}"
        return f"Model(workspace={self.workspace}, {about})"

    @staticmethod
    def get_model_path(model_name, version=None, _workspace=None):
        """The path of the model's file or folder; of its highest version where none is given."""
        if version is not None and not isinstance(version, int):
            raise WebserviceException("version should be an int")
        if model_name is None:
            raise WebserviceException("model_name is None")
        versions = os.path.join(MODELS_DIR, model_name)
        if os.path.exists(versions):
            latest = max(map(int, os.listdir(versions))) if version is None else version
            folder = os.path.join(versions, str(latest))
            if os.path.exists(folder):
                entries = os.listdir(folder)
                if len(entries) != 1:
                    raise WebserviceException(f"Dir {folder} can contain only 1 file or folder. Found {entries}")
                return os.path.join(folder, entries[0])
        if os.path.exists(model_name):
            return model_name
        wanted = model_name if version is None else f"{model_name}:{version}"
        raise ModelNotFoundException(
            f"Model {wanted} not found in cache at {MODELS_DIR} or in current working directory {os.getcwd()}. "
            "Choose it as a model of the run."
        )
