"""How the datasets of a run are divided into mini-batches, and the sentence that describes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services import formats
from services.formats import counted
from services.settings import ParallelRunSettings


@dataclass(frozen=True)
class MiniBatchPlan:
    """How the datasets of a run are cut into mini-batches. `item` is `file` or `row`; `each` says what one mini-batch is, after the number
    of them: ` of 5`, ` of about 1 MB`. `notes` are sentences on what can't be cut to the size; `on` names the workers where they aren't on
    this machine; `estimated`: the counts are not exact, because the service cuts. Counts are None where they aren't known."""

    item: str
    item_count: int | None
    mini_batch_count: int | None
    each: str = ""
    notes: tuple[str, ...] = ()
    on: str = ""
    estimated: bool = False

    @classmethod
    def of_files(cls, file_counts: Iterable[int], size: int) -> MiniBatchPlan:
        """File datasets of so many files each, cut separately into mini-batches of `size` files."""
        counts = list(file_counts)
        return cls("file", sum(counts), sum(-(-count // size) for count in counts), f" of {size:,}")


def describe(cut: MiniBatchPlan, settings: ParallelRunSettings) -> str:
    """What a run will do, for a person: “912 files in 183 mini-batches of 5, on 4 workers; stops after the 11th failed file”."""
    total, item, threshold = cut.item_count, cut.item, settings.error_threshold
    each = cut.each if (cut.mini_batch_count or 0) > 1 else ""
    if threshold < 0:
        stop = f"never stops for failed {item}s"
    elif total is not None and threshold >= total:
        stop = f"never stops for failed {item}s: {threshold:,} may fail, and there are only {total:,}"
    else:
        stop = f"stops after the {formats.ordinal(threshold + 1)} failed {item}"
    batches = ("about " if cut.estimated and cut.mini_batch_count is not None else "") + counted(cut.mini_batch_count, "mini-batch")
    if cut.estimated and not total:
        return f"All {item}s, not counted yet, on {cut.on}; {stop}"
    return f"{counted(total, item)} in {batches}{each}, on {cut.on or counted(settings.worker_count, 'worker')}; {stop}"
