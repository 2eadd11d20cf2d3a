"""What is known of a run on Azure ML before it is submitted, and its items tried on this machine."""

from __future__ import annotations

import pytest

from services.azure.catalog import readiness
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
    quota = "Quota Standard DSv2 Family Cluster Dedicated vCPUs: 4 of 10 in use; 2 more nodes would take 8, more than is left: "
    assert trial.place[2] == "Quota Total Cluster Dedicated Regional vCPUs: 4 of 100 in use; 2 more nodes would take 8."
    assert trial.place[3] == quota + "ask for more quota, or use fewer nodes."
    assert "was never built: Azure ML builds it before the first run" in trial.place[4]
    assert (trial.rows, trial.estimate) == ((), None)
    built = cloud.try_items(request_on(environment=CURATED))
    assert built.place[-1] == f"The environment {CURATED} is built: its image is in the registry."
    with pytest.raises(SettingsError) as refused:
        cloud.try_items(RunRequest((), ("d",), request_on().entry_script))
    assert refused.value.field == "compute_target"


def test_with_consent_items_are_scored_on_this_machine(cloud, csv_folder, entry_script, tmp_path, home):
    from services import trial_here

    cloud.register_dataset("d", csv_folder(6), copy=True)
    (tmp_path / "clf.txt").write_text("first")
    cloud.register_model("clf", tmp_path / "clf.txt")
    (tmp_path / "clf.txt").write_text("second")
    cloud.register_model("clf", tmp_path / "clf.txt")
    script = entry_script("""
        import argparse, os
        from azureml.core import Model

        def run(mini_batch):
            parser = argparse.ArgumentParser()
            parser.add_argument("--model-version", type=int)
            version = parser.parse_known_args()[0].model_version
            says = open(Model.get_model_path("clf", version=version)).read()
            return [f"{os.path.basename(path)}: {says}" for path in mini_batch]
    """)
    settings = ParallelRunSettings(node_count=2, process_count_per_node=1, mini_batch_size=2)
    request = RunRequest(
        ("clf:2",), ("d",), str(script), settings, arguments=("--model-version", "2"), compute_target="cpu-cluster"
    )  # fmt: skip
    trial = trial_here.try_items(cloud, request, here=True, choice=[2, 6], seconds=1)
    assert [(row.item, row.values["Prediction"]) for row in trial.rows] == [("0001.csv", "second"), ("0005.csv", "second")]
    assert "2 nodes must be started first" in trial.place[1]
    assert any("scored on this machine" in sentence for sentence in trial.place)
    assert any("environment of the run" in sentence for sentence in trial.not_tried)
    assert (trial.estimate.items, trial.estimate.workers) == (6, 2)
    assert trial.estimate.seconds_high > 600  # nodes and an image
    assert not list((cloud.home / "incoming").iterdir())
    assert not trial_here.try_items(cloud, request, here=False).rows


def test_a_quota_that_may_not_be_read_is_said_to_be_unknown(cloud, azure, request_on):
    azure.service.fault("GET *locations/*/usages*", count=None, status=403, code="AuthorizationFailed", message="Not your subscription.")
    trial = cloud.try_items(request_on())
    assert any(sentence.startswith("The quota of cores is unknown: It can't be read") for sentence in trial.place)
    assert "was never built" in trial.place[-1]


@pytest.mark.parametrize(
    ("size", "family"),
    [
        ("STANDARD_DS3_V2", "dsv2"), ("STANDARD_D2_V2", "dv2"), ("Standard_NC6s_v3", "ncsv3"), ("Standard_E4ds_v4", "edsv4"),
        ("Standard_NC24ads_A100_v4", "ncadsa100v4"), ("Standard_D2", "d"), ("", ""),
    ],
)  # fmt: skip
def test_the_family_of_a_size_is_told_by_its_name(size, family):
    assert readiness._family(size) == family
