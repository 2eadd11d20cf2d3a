"""`sdk.Computes` by `Workspace.compute_targets`, `Workspace.datastores` and `AmlCompute`."""

from __future__ import annotations

from typing import Any

from services.azure.sdk import Cluster, Quotas
from services.azure.sdk_v1.session import Part
from services.remote import ComputeTarget, Datastore


class Computes(Part):
    def targets(self) -> list[ComputeTarget]:
        with self._session.sdk_calls("The compute targets can't be listed", "compute_target") as workspace:
            return [_target(target) for target in workspace.compute_targets.values()]

    def datastores(self) -> list[Datastore]:
        with self._session.sdk_calls("The datastores can't be listed") as workspace:
            default, stores = workspace.get_default_datastore().name, []
            for store in workspace.datastores.values():
                account, lake, container = (getattr(store, name, None) for name in ("account_name", "store_name", "container_name"))
                location = " / ".join(filter(None, (account or lake, container)))
                stores.append(Datastore(store.name, store.datastore_type, location, store.name == default))
        return stores

    def cluster(self, name: str) -> Cluster:
        with self._session.sdk_calls(f"The compute target {name} can't be read", "compute_target") as workspace:
            cluster = workspace.compute_targets.get(name)
            status: Any = cluster.get_status() if hasattr(cluster, "get_status") else None
        counts = getattr(status, "node_state_counts", None)
        return Cluster(
            getattr(status, "provisioning_state", None) or "",
            nodes=getattr(status, "current_node_count", None) or 0,
            idle=getattr(counts, "idle_node_count", 0) or 0,
            busy=(getattr(counts, "running_node_count", 0) or 0) + (getattr(counts, "preparing_node_count", 0) or 0),
            low_priority=(getattr(status, "vm_priority", "") or "").lower().startswith("low"),
            errors=[_text(error) for error in getattr(status, "errors", None) or ()],
        )

    def quotas(self, size: str) -> Quotas:
        with self._session.sdk_calls("It can't be read", "compute_target") as workspace:
            from azureml.core.compute import AmlCompute

            sizes = AmlCompute.supported_vmsizes(workspace)
            usages: list[dict[str, Any]] = AmlCompute.list_usages(workspace)
        cores = next((int(one["vCPUs"]) for one in sizes if one["name"].lower() == size.lower()), None)
        found = [(str(one.get("name", {}).get("value", "")), one.get("currentValue"), one.get("limit")) for one in usages]
        return Quotas(cores, [(name, used, limit) for name, used, limit in found if isinstance(used, int) and isinstance(limit, int)])


def _target(target: Any) -> ComputeTarget:
    scale, status = getattr(target, "scale_settings", None), getattr(target, "status", None)
    allocation = getattr(status, "allocation_state", "") or ""
    state = target.provisioning_state or "Unknown"
    return ComputeTarget(
        name=target.name,
        type=target.type or type(target).__name__,
        state=f"{state}, {allocation.lower()}" if allocation and state == "Succeeded" else state,
        size=(getattr(target, "vm_size", None) or "").upper(),
        nodes=getattr(status, "current_node_count", None),
        min_nodes=getattr(scale, "minimum_node_count", None),
        max_nodes=getattr(scale, "maximum_node_count", None),
    )


def _text(error: Any) -> str:
    values = error.get("error", error) if isinstance(error, dict) else {}
    return ": ".join(str(values[name]) for name in ("code", "message") if values.get(name)) or str(error)
