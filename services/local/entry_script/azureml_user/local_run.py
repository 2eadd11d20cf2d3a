"""What a run on this machine answers where azureml-core asks a workspace: its experiment, its workspace, its models and their tags.

azureml.core is given this where the run's interpreter has it (`add_to_model`, `add_to_run`, called by the worker's import hook), and the
stand-in is where it has not. Standard library only and Python 3.8 or newer: it runs in the run's own interpreter.
"""

import datetime
import functools
import json
import os
import shutil
import sys
import uuid


@functools.lru_cache
def _facts():
    """What the runner wrote down of the run: id, experiment, workspace, models (newest first), side inputs."""
    with open(os.environ["BATCH_SCORING_RUN_FACTS"], encoding="utf-8") as file:
        return json.load(file)


def _no_meaning(what):
    return AttributeError(what + " has no meaning here: this run is executed on this machine, not by Azure ML")


class OfThisMachine:
    """Whatever a subclass has no answer for is said in one sentence. `hasattr` is False for it."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise _no_meaning(type(self).__name__ + "." + name)


class Workspace(OfThisMachine):
    """The run's workspace: its models are those of the run."""

    @property
    def name(self):
        return _facts()["workspace"]

    @property
    def models(self):
        """The newest version of each model of the run, by name."""
        model_class = sys.modules["azureml.core.model"].Model
        return {model.name: model for model in model_class.list(self, latest=True)}

    def __repr__(self):
        return f"Workspace(name={self.name!r})"


class Experiment(OfThisMachine):
    """The run's experiment."""

    def __init__(self):
        self.name = _facts()["experiment"]
        self.workspace = Workspace()

    def __repr__(self):
        return f"Experiment(Name: {self.name}, Workspace: {self.workspace.name})"


class InputDatasets(dict):
    """The folders of the run's side inputs, by name: what Azure ML gives for an input that is mounted."""

    def __missing__(self, name):
        raise KeyError("{!r} is not a side input of this run; it has {}".format(name, ", ".join(self) or "none"))


class RunAnswers(OfThisMachine):
    """What an offline run of azureml-core lacks."""

    @property
    def experiment(self):
        return Experiment()

    @property
    def parent(self):
        """The run whose worker this is, with the id that this program shows; it has no parent."""
        run_id = _facts()["id"]
        return None if self.id == run_id else type(self)(run_id=run_id)

    @property
    def input_datasets(self):
        return InputDatasets(_facts()["side_inputs"])

    def get_status(self):
        return "Running"

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        raise _no_meaning("Run." + name)


# ---- models ----------------------------------------------------------------------------------------------------------------------


def _find(name=None, tags=None, version=None, latest=False, **unknown_here):
    """The run's models, newest first, as dicts. `tags` is a list of `key` or `[key, value]`. A filter by what no
    model has here finds none."""
    if tags is not None and not isinstance(tags, list):
        raise TypeError('tags must be a list, such as ["key", ["key2", "value"]], not ' + type(tags).__name__)
    wanted = [(tag, None) if isinstance(tag, str) else tuple(tag) for tag in tags or ()]
    if any(unknown_here.values()):  # properties, a run or a framework: no model has these here
        return []
    found, names = [], set()
    for model in _facts()["models"]:
        has_tags = all(key in model["tags"] and value in (None, model["tags"][key]) for key, value in wanted)
        is_it = (not name or model["name"] == name) and (not version or model["version"] == int(version))
        if has_tags and is_it and not (latest and model["name"] in names):
            names.add(model["name"])
            found.append(model)
    return found


def fill(model, workspace, facts):
    """Give an object of azureml.core's Model what is known of one of the run's models."""
    model.workspace, model.name, model.version = workspace, facts["name"], facts["version"]
    model.id = f"{model.name}:{model.version}"
    model.tags, model.properties, model.description = dict(facts["tags"]), {}, facts["description"]
    model.created_time = datetime.datetime.fromisoformat(facts["created_time"]) if facts["created_time"] else None
    return model


def find_one(
    error,
    name=None,
    id=None,  # noqa: A002 - its name there
    tags=None,
    properties=None,
    version=None,
    run_id=None,
    model_framework=None,
    expand=True,
):
    """The model of `Model(workspace, "name")` or `Model(workspace, id="name:version")`, by the parameters of azureml-core in their order.
    Raises `error` where the run has no such model."""
    if id:
        name, _, version = id.partition(":")
    if not name:
        raise error("Error, one of id or name must be provided.")
    found = _find(name, tags, version or None, properties=properties, run_id=run_id, model_framework=model_framework)
    if not found:
        known = ", ".join("{name}:{version}".format(**facts) for facts in _facts()["models"]) or "none"
        wanted = name + (f":{version}" if version else "")
        such = " with these tags" if tags else ""
        raise error(f"ModelNotFound: this run has no model {wanted}{such}; its models: {known}. Choose it as a model of the run.")
    return found[0]


def find_all(
    name=None, tags=None, properties=None, run_id=None, latest=False, dataset_id=None, expand=True, page_count=255, model_framework=None
):
    """The models of `Model.list(workspace)`, newest first, by its parameters in their order."""
    others = {"properties": properties, "run_id": run_id, "dataset_id": dataset_id, "model_framework": model_framework}
    return _find(name, tags, latest=latest, **others)


def download(model, target_dir, exist_ok, error):
    """Copy the model's file or folder below `target_dir`; its path there. Several workers may do so at once where `exist_ok` is true."""
    folder = os.path.join(os.environ["BATCH_SCORING_WORKING_DIR"], "azureml-models", model.name, str(model.version))
    (name,) = os.listdir(folder)
    source, target = os.path.join(folder, name), os.path.join(os.path.normpath(target_dir), name)
    if not exist_ok and os.path.exists(target):
        raise error("File already exists. To overwrite, set exist_ok to True. " + target)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(source):
        return shutil.copytree(source, target, copy_function=_copy, dirs_exist_ok=True)
    return _copy(source, target)


def _copy(source, target):
    """Copy the content, in one step. The registered file can be read only; the copy is the script's own."""
    temporary = f"{target}.{uuid.uuid4().hex}"
    shutil.copyfile(source, temporary)
    os.replace(temporary, target)
    return target


# ---- the real azureml-core -------------------------------------------------------------------------------------------------------


def add_to_run(module):
    """Give azureml.core.run's offline run what it has no answer for. What it has stays as it is."""
    for name, value in {**vars(OfThisMachine), **vars(RunAnswers)}.items():
        if not hasattr(module._OfflineRun, name):
            setattr(module._OfflineRun, name, value)
    real = module.Run.get_context.__func__

    @functools.wraps(real)
    def get_context(cls, allow_offline=True, used_for_context_manager=False, **kwargs):
        # azureml-core asks by allow_offline=False whether it is on Azure ML: it is still told that it is not.
        asked_by_sdk = sys._getframe(1).f_globals.get("__name__", "").startswith("azureml.")
        return real(cls, allow_offline or not asked_by_sdk, used_for_context_manager, **kwargs)

    module.Run.get_context = classmethod(get_context)


def add_to_model(module):
    """Let azureml.core.model's Model answer for the run's own workspace; for any other it does what it did."""
    model_class, error = module.Model, module.WebserviceException
    make, list_all, fetch, path_of = model_class.__init__, model_class.list, model_class.download, model_class._get_model_path_remote

    @functools.wraps(make)
    def __init__(self, workspace, *args, **kwargs):
        if not isinstance(workspace, Workspace):
            make(self, workspace, *args, **kwargs)
            return
        make(self, None)
        fill(self, workspace, find_one(error, *args, **kwargs))

    @functools.wraps(list_all)
    def list_models(workspace, *args, **kwargs):
        if not isinstance(workspace, Workspace):
            return list_all(workspace, *args, **kwargs)
        return [fill(model_class(None), workspace, facts) for facts in find_all(*args, **kwargs)]

    @functools.wraps(fetch)
    def fetch_or_copy(self, target_dir=".", exist_ok=False, exists_ok=None):
        if not isinstance(self.workspace, Workspace):
            return fetch(self, target_dir, exist_ok, exists_ok)
        return download(self, target_dir, exist_ok or exists_ok, error)

    @functools.wraps(path_of)
    def path_of_model(model_name, version, workspace):
        if not isinstance(workspace, Workspace):
            return path_of(model_name, version, workspace)
        return model_class._get_model_path_local(model_name, version)

    model_class.__init__, model_class.download = __init__, fetch_or_copy
    model_class.list, model_class._get_model_path_remote = staticmethod(list_models), staticmethod(path_of_model)


ADDITIONS = {"azureml.core.model": add_to_model, "azureml.core.run": add_to_run}
