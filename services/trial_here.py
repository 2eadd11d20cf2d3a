"""Items of a workspace elsewhere tried on this machine: the model and a few files are fetched into a home that is removed afterwards.

It executes the model and the script here, so somebody has to have consented. The interpreter is this program's own, not that of the run's
environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from services.domain import Dataset, RunRequest
from services.errors import NotFound, SettingsError
from services.formats import counted
from services.intake.staging import move_or_copy, staging_folder
from services.local.trial_items import chosen_numbers
from services.run_details import Trial
from services.scoring import run_cost
from services.scoring.run_cost import Cost, Machine, Measured, Whole
from services.workspace import RemoteWorkspace, Workspace
from services.workspaces import open_workspace

_MORE_FILES = 40
"""That are fetched to measure with, where they are small."""
_MOST_BYTES = 200_000_000
"""Of what is fetched of a dataset."""
_NODES_SECONDS = (0.0, 600.0)
"""Until a cluster's nodes are there."""
_BUILD_SECONDS = (300.0, 1_800.0)
_OTHER_MACHINE = 0.5
"""How far a node's speed may be from this machine's, either way."""


def try_items(
    workspace: Workspace,
    request: RunRequest,
    *,
    here: bool = False,
    items: int = 5,
    choice: str | Sequence[int] = "first",
    seconds: float = 10.0,
    stopped: Callable[[], bool] = lambda: False,
) -> Trial:
    """`Workspace.try_items`; of a workspace elsewhere, with `here`, the items are scored on this machine, by somebody's consent."""
    known = workspace.try_items(request, items=items, choice=choice, seconds=seconds, stopped=stopped)
    remote = workspace.remote
    if remote is None or not here or known.error:
        return known
    if request.side_inputs or len(request.datasets) > 1:
        sentence = "the items: side inputs and several datasets are not fetched to this machine."
        return replace(known, not_tried=(sentence, *known.not_tried[1:]))
    with staging_folder(workspace.home) as folder:
        home = folder / "home"
        home.mkdir()
        local = open_workspace("local", home)
        dataset = remote.dataset(request.datasets[0])
        numbers = _fetch_dataset(remote, dataset, items, choice, folder, local)
        request_here, versions = _fetch_models(remote, request, folder, local)
        if stopped():
            return replace(known, error="The trial was stopped.")
        settings = replace(request.settings, node_count=1)
        tried = local.try_items(
            replace(request_here, datasets=(f"{dataset.name}:1",), settings=settings, environment=None, compute_target=None),
            items=items, choice=numbers, seconds=seconds, stopped=stopped,
        )  # fmt: skip
    return _together(remote, request, known, tried, versions)


def _fetch_models(remote: RemoteWorkspace, request: RunRequest, folder: Path, local: Workspace) -> tuple[RunRequest, list[str]]:
    """The request by the models as they are called in the home on this machine; and sentences on versions that are others there."""
    references, arguments, sentences = [], list(request.arguments), []
    for number, reference in enumerate(request.models):
        model = remote.model(reference)
        place = folder / f"model-{number}"
        place.mkdir()
        made = local.register_model(model.name, remote.fetch_model(model.reference, place), tags=model.tags, approve=True)
        references.append(made.reference)
        if made.version != model.version:
            arguments = _with_version(arguments, model.version, made.version)
            sentences.append(f"{model} is version {made.version} on this machine: a script that asks for {model.version} finds none.")
    return replace(request, models=tuple(references), arguments=tuple(arguments)), sentences


def _with_version(arguments: Sequence[str], version: int, here: int) -> list[str]:
    """The arguments with the version that the built-in scripts get, as it is on this machine."""
    changed = list(arguments)
    for place, argument in enumerate(changed):
        if argument == f"--model-version={version}":
            changed[place] = f"--model-version={here}"
        elif argument == "--model-version" and changed[place + 1 : place + 2] == [str(version)]:
            changed[place + 1] = str(here)
    return changed


def _fetch_dataset(
    remote: RemoteWorkspace, dataset: Dataset, items: int, choice: str | Sequence[int], folder: Path, local: Workspace
) -> str | list[int]:
    """Register the chosen files, and some more to measure with, or the first file of a table, as the same dataset on this machine; which
    items these are there. Raises SettingsError, NotFound."""
    first = remote.dataset_files(dataset, 0, 1)
    if not first:
        raise NotFound(f"The files of {dataset} are not known yet.", "Try again when the dataset's files were listed.")
    tabular = dataset.type == "tabular"
    if tabular:
        files, numbers = first, choice if isinstance(choice, str) else list(choice)
        if first[0].size > _MOST_BYTES:
            text = f"{first[0].path} of {dataset} is too large to be fetched for a trial"
            raise SettingsError("dataset", text, "Submit a run of a small part of it first.")
    else:
        total = remote.dataset(dataset.reference).file_count or len(remote.dataset_files(dataset, 0, 1_000_000))
        wanted = chosen_numbers(choice, items, total)
        files = [remote.dataset_files(dataset, number, 1)[0] for number in wanted]
        more = [file for file in remote.dataset_files(dataset, 0, _MORE_FILES) if file.path not in {file.path for file in files}]
        if sum(file.size for file in files) > _MOST_BYTES:
            raise SettingsError("items", f"{counted(len(files), 'file')} of {dataset} are too large to be fetched", "Choose fewer.")
        while more and sum(file.size for file in (*files, *more)) > _MOST_BYTES // 10:
            more.pop()
        paths = sorted((os.fsencode(file.path), file.path) for file in (*files, *more))
        chosen = {file.path for file in files}
        numbers = [place for place, (_, path) in enumerate(paths, 1) if path in chosen]
        files = [*files, *more]
    place = folder / "files"
    for file in files:
        target = place / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        move_or_copy(local.home, remote.local_file(dataset, file.path), target)
    local.register_dataset(dataset.name, place, type=dataset.type, partition_format=dataset.partition_format)
    return numbers


def _together(remote: RemoteWorkspace, request: RunRequest, known: Trial, tried: Trial, sentences: Sequence[str]) -> Trial:
    """What is known of the cluster, and what was tried here, with an estimate of the run there."""
    place = (*known.place, "The items were scored on this machine, by this program’s own Python and packages.", *sentences)
    not_tried = (f"the environment of the run: {request.environment or 'the one made for it'}.", *known.not_tried[1:])
    warnings = tuple(dict.fromkeys((*known.warnings, *tried.warnings)))
    both = replace(tried, place=place, not_tried=not_tried, warnings=warnings, estimate=None, suggestions=())
    plan = remote.mini_batches([remote.dataset(reference) for reference in request.datasets], request.settings)
    if tried.seconds_per_item is None or not plan.item_count or not plan.mini_batch_count:
        return both
    settings = request.settings
    most = plan.item_count if plan.item == "file" else 0
    whole = Whole(plan.item, plan.item_count, plan.mini_batch_count, settings, can_be_cut=False, most_items=most)
    cost = Cost(tried.seconds_per_call, tried.seconds_per_item, max(1, tried.measured_items), _OTHER_MACHINE)
    measured = Measured(tried.start_seconds or 0.0, tried.init_seconds or 0.0)
    nodes = Machine(settings.worker_count, None)
    estimate = run_cost.estimate(cost, measured, whole, nodes)
    build = () if any("is built" in sentence for sentence in known.place) else _BUILD_SECONDS
    low, high = (_NODES_SECONDS[end] + (build[end] if build else 0.0) for end in (0, 1))
    why = ["A node of the cluster may be slower or faster than this machine", "Its nodes are started before the first call"]
    why += ["Its environment is built first"] if build else []
    estimate = replace(estimate, seconds_low=estimate.seconds_low + low, seconds_high=estimate.seconds_high + high, why=tuple(why))
    suggestions = tuple(s for s in run_cost.suggestions(cost, measured, whole, nodes) if s.setting != "process_count_per_node")
    return replace(both, estimate=estimate, suggestions=suggestions)


def consent(workspace: Workspace) -> str:
    """What somebody consents to by trying the items of a workspace elsewhere on this machine; "" where they are on it."""
    if workspace.remote is None:
        return ""
    return "Fetch the model and these items, and execute the model and the script on this machine, with your permissions."
