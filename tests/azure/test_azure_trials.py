"""What is known of a run on Azure ML before it is submitted, and its items tried on this machine."""

from __future__ import annotations

import pytest

from services.domain import RunRequest
from services.errors import SettingsError
from services.settings import ParallelRunSettings
from tests.azure_service.environments import CURATED

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's own


@pytest.fixture
def request_on(cloud, csv_folder, entry_script):
    cloud.register_dataset("d", csv_folder(6), copy=True)
    script = entry_script("""
        import os
        from azureml.core import Model

        def run(mini_batch):
            return [f"{os.path.basename(path)}: {os.path.getsize(path)}" for path in mini_batch]
    """)

    def make(**more):
        settings = ParallelRunSettings(node_count=2, process_count_per_node=2, mini_batch_size=2)
        return RunRequest((), ("d",), str(script), settings, compute_target="cpu-cluster", **more)

    return make


def test_the_clusters_nodes_and_what_has_to_be_built_are_told(cloud, request_on):
    trial = cloud.try_items(request_on())
    assert trial.place[0] == "cpu-cluster (STANDARD_DS3_V2) is Succeeded: 0 nodes of at most 4 started, 0 idle, 0 at work."
    assert "2 nodes must be started first" in trial.place[1]
    assert "was never built: Azure ML builds it before the first run" in trial.place[2]
    assert (trial.rows, trial.estimate) == ((), None)
    assert any("quota" in sentence for sentence in trial.not_tried)
    built = cloud.try_items(request_on(environment=CURATED))
    assert built.place[-1] == f"The environment {CURATED} is built: its image is in the registry."
    with pytest.raises(SettingsError) as refused:
        cloud.try_items(RunRequest((), ("d",), request_on().entry_script))
    assert refused.value.field == "compute_target"
