"""Which model and dataset to propose: a pair that scored something together, else one that fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import TypeVar

from services.domain import Dataset, Model, Run
from services.scoring.scorers import scorer_at

_Versioned = TypeVar("_Versioned", Model, Dataset)
_MOST_PAIRS = 100
"""So many are looked at, the newest first."""


@dataclass(frozen=True)
class Proposal:
    """What is chosen at first: references, and the path of a script. None where nothing tells; `model` is "" for a run without one."""

    model: str | None
    dataset: str | None
    entry_script: str | None = None


def propose(
    runs: Sequence[Run],
    models: Sequence[Model],
    datasets: Sequence[Dataset],
    fits: Callable[[Model, Dataset], bool],
    *,
    model: str | None = None,
    dataset: str | None = None,
) -> Proposal:
    """A model and a dataset that go together: those of the newest of `runs` that scored something, each in its newest version, with its
    script; else the newest that fit each other, of those that come first. Where a `model` or a `dataset` is chosen already, what goes
    with that. What fits nothing is not proposed, be it the newest; a model or dataset without any counterpart is, where it is the only
    one."""
    latest_models, latest_datasets = _latest(models), _latest(datasets)
    both = model is not None and dataset is not None
    for run in runs:
        names = [reference.partition(":")[0] for reference in (next(iter(run.request.models), ""), run.request.datasets[0])]
        wanted = [None if chosen is None else chosen.partition(":")[0] for chosen in (model, dataset)]
        is_there = (not names[0] or names[0] in latest_models) and names[1] in latest_datasets
        if run.items_succeeded and is_there and all(want in (None, name) for want, name in zip(wanted, names, strict=True)):
            scored, over = latest_models.get(names[0]), latest_datasets[names[1]]
            if both or scored is None or scorer_at(run.request.entry_script) is None or fits(scored, over):
                return Proposal(scored.reference if scored else "", over.reference, run.request.entry_script)
    if both:
        return Proposal(model, dataset)
    if model == "":
        return Proposal(model, _only(latest_datasets))
    candidates = [one for one in models if one.reference == model] if model else list(latest_models.values())
    over_what = [one for one in datasets if one.reference == dataset] if dataset else list(latest_datasets.values())
    for one, other in islice(product(candidates, over_what), _MOST_PAIRS):
        if fits(one, other):
            return Proposal(one.reference, other.reference)
    if not latest_models or not latest_datasets:
        return Proposal(_only(latest_models), _only(latest_datasets))
    return Proposal(_only(latest_models), None)


def _latest(things: Sequence[_Versioned]) -> dict[str, _Versioned]:
    """The newest version of each name, in the order of `things`."""
    latest: dict[str, _Versioned] = {}
    for thing in things:
        latest[thing.name] = max(thing, latest.get(thing.name, thing), key=lambda versioned: versioned.version)
    return latest


def _only(things: dict[str, Model] | dict[str, Dataset]) -> str | None:
    return next(iter(things.values())).reference if len(things) == 1 else None
