"""Compute targets, their quotas and the datastores, by azure-ai-ml."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from services.azure.catalog.downloads import in_parallel
from services.azure.sdk import Cluster, Quotas
from services.azure.sdk_v2.session import Part, checked, word
from services.remote import SERVERLESS, ComputeTarget, Datastore

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Compute

_CLUSTER = "amlcompute"
_TYPES = {_CLUSTER: "AmlCompute", "computeinstance": "ComputeInstance", "virtualmachine": "VirtualMachine"}
"""The service's words, by those of the SDK."""


class Computes(Part):
    def targets(self) -> list[ComputeTarget]:
        """With `serverless`, which is in no list: Azure ML makes its nodes for a job, and the quota of cores limits them."""
        with self._session.sdk_calls("The compute targets can't be listed", "compute_target") as client:
            listed = in_parallel(lambda target: _target(client, target), client.compute.list())
        return [ComputeTarget(SERVERLESS, "serverless", "made for each run"), *listed]

    def datastores(self) -> list[Datastore]:
        with self._session.sdk_calls("The datastores can't be listed") as client:
            default = client.datastores.get_default().name
            return [Datastore(str(one.name), word(one.type), _location(one), one.name == default) for one in client.datastores.list()]

    def cluster(self, name: str) -> Cluster:
        if name == SERVERLESS:
            return Cluster("made for each run")
        with self._session.sdk_calls(f"The compute target {name} can't be read", "compute_target") as client:
            target: Any = client.compute.get(checked(name, "compute_target"))
            states = _node_states(client, name)
        return Cluster(
            state=word(target.provisioning_state),
            nodes=states.total(),
            idle=states["idle"],
            busy=states["running"] + states["preparing"],
            low_priority=word(getattr(target, "tier", "")).lower().startswith("low"),
            errors=[str(target.provisioning_errors)] if target.provisioning_errors else [],
        )

    def quotas(self, size: str) -> Quotas:
        with self._session.sdk_calls("It can't be read", "compute_target") as client:
            region = self._session.region()
            sizes = [one for one in client.compute.list_sizes(location=region) if str(one.name).lower() == size.lower()]
            usages = [
                (str(_field(_field(usage, "name"), "value")), _field(usage, "current_value", "currentValue"), _field(usage, "limit"))
                for usage in client.compute.list_usage(location=region)
            ]
        cores = _field(sizes[0], "v_cp_us", "vCPUs") if sizes else None
        return Quotas(cores, [usage for usage in usages if isinstance(usage[1], int) and isinstance(usage[2], int)])


def _target(client: MLClient, target: Compute) -> ComputeTarget:
    from azure.core.exceptions import HttpResponseError

    nodes = None
    if target.type == _CLUSTER:
        with suppress(HttpResponseError):  # who may not see its nodes sees it all the same
            nodes = _node_states(client, str(target.name)).total()
    return ComputeTarget(
        name=str(target.name),
        type=_TYPES.get(str(target.type), str(target.type)),
        state=word(target.provisioning_state) or "Unknown",
        size=word(getattr(target, "size", "")).upper(),
        nodes=nodes,
        min_nodes=getattr(target, "min_instances", None),
        max_nodes=getattr(target, "max_instances", None),
    )


def _node_states(client: MLClient, cluster: str) -> Counter[str]:
    """How many nodes there are in each state."""
    return Counter(str(_field(node, "node_state", "nodeState")).lower() for node in client.compute.list_nodes(cluster))


def _field(thing: Any, name: str, on_the_wire: str = "") -> Any:
    """Of what the SDK has as an object, as a dictionary, or (1.35) as an object with the service's names beside its own, which are None."""
    values = thing if isinstance(thing, dict) else vars(thing)
    return values.get(name) if values.get(name) is not None else values.get(on_the_wire)


def _location(store: Any) -> str:
    account, lake, *containers = (
        getattr(store, name, None) for name in ("account_name", "store_name", "container_name", "filesystem", "file_share_name")
    )
    return " / ".join(filter(None, (account or lake, *containers)))
