"""What a run will find on Azure ML before its first row: the cluster's state, nodes, quota and errors, and whether its environment is
built. What asks the service raises as `Session.sdk_calls`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.azure.sdk import Computes, Environments, Image
from services.domain import parse_reference
from services.errors import StudioError
from services.formats import counted
from services.remote import ComputeTarget

_BUILD = "Azure ML builds it before the first run, which takes some ten to twenty minutes"


def cluster_facts(computes: Computes, target: ComputeTarget, node_count: int) -> Iterator[str]:
    """Sentences on a cluster as it is now, the first on its nodes."""
    cluster, most = computes.cluster(target.name), target.max_nodes or node_count
    yield (
        f"{target.name} ({target.size or target.type}) is {cluster.state or target.state}: {counted(cluster.nodes, 'node')} of at most "
        f"{most:,} started, {cluster.idle:,} idle, {cluster.busy:,} at work."
    )
    wanted = min(node_count, most)
    if cluster.idle < wanted:
        yield f"{counted(wanted - cluster.idle, 'node')} must be started first, or get free: usually some minutes."
    try:
        yield from _quota_facts(computes, target.size, max(0, wanted - cluster.nodes), low_priority=cluster.low_priority)
    except StudioError as unreadable:  # it is the subscription’s, which not everyone may read
        yield f"The quota of cores is unknown: {unreadable.message.rstrip('.')}."
    if cluster.low_priority:
        yield "Its nodes are of low priority: Azure may take them away while the run goes on, and their mini-batches are scored again."
    for error in cluster.errors:
        yield f"The cluster reports an error, {error.rstrip('.')}."


def _quota_facts(computes: Computes, size: str, more: int, *, low_priority: bool) -> list[str]:
    """Sentences on the quotas of cores that `more` nodes of this size are started from: that of the region, and of dedicated nodes that of
    their family too."""
    quotas = computes.quotas(size)
    cores = quotas.cores
    family, kind = _family(size), "lowpriority" if low_priority else "dedicated"
    facts = []
    for name, used, limit in quotas.usages:
        folded = re.sub(r"[^a-z0-9]", "", name.lower())
        of_the_cluster = folded.startswith(("totalcluster", f"standard{family}familycluster")) and kind in folded
        if not of_the_cluster or limit < 0:
            continue
        wanted = f"; {counted(more, 'more node')} would take {more * cores:,}" if cores and more else ""
        lacks = ", more than is left: ask for more quota, or use fewer nodes" if cores and more * cores > limit - used else ""
        facts.append(f"Quota {name}: {used:,} of {limit:,} in use{wanted}{lacks}.")
    return facts or ["The quota of cores is unknown: Azure ML lists none for this cluster."]


def _family(size: str) -> str:
    """How quotas call the family of a size, folded: `dsv2` of STANDARD_DS3_V2, `ncadsa100v4` of Standard_NC24ads_A100_v4."""
    match = re.fullmatch(r"standard_([a-z]+)[\d-]+(.*)", size.lower())
    return re.sub(r"[^a-z0-9]", "", match[1] + match[2]) if match else ""


def environment_fact(environments: Environments, reference: str) -> str:
    """Whether the image of an environment is there, in a sentence."""
    name, version = parse_reference(reference, "environment")
    return {
        Image.BUILT: f"The environment {name} is built: its image is in the registry.",
        Image.NOT_BUILT: f"The environment {name} has to be built: {_BUILD}.",
        Image.NO_ENVIRONMENT: f"The environment {name} was never built: {_BUILD}.",
        Image.UNKNOWN: f"Whether the environment {name} is built is not known here. Where it is not, {_BUILD}.",
    }[environments.image(name, version)]
