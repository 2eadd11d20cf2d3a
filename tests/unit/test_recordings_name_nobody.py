"""Recordings of steps on Azure ML: nothing in them tells whose they were."""

import pytest

from tests.azure_service.recordings import RECORDED, TRACES, Scrubber, record, traces_in

SAID = {
    "run 9f1c2d3e-4b5a-6789-abcd-ef0123456789, 9F1C2D3E-4b5a-6789-abcd-ef0123456789, 11112222-3333-4444-5555-666677778888": (
        "run 00000000-0000-0000-0000-000000000001, 00000000-0000-0000-0000-000000000001, 00000000-0000-0000-0000-000000000002"
    ),
    "node 10.4.0.17 and node 52.166.13.64, not 10.4.0.17": "node 10.0.0.4 and node 10.0.0.5, not 10.0.0.4",
    "https://stacme42.blob.core.windows.net/azureml/x?sv=2019&sig=a%2Fb%3D&se=1 at westeurope.api.azureml.ms": (
        "https://host1.example/azureml/x?signature at host2.example"
    ),
    "AccountKey=abc/def==; Authorization: Bearer abc.def": "AccountKey=…; Authorization: token…",
    "token eyJhbGciOi.eyJzdWIi.c2ln of jo.doe@acme.com": "token token… of user@example.com",
    "in ws-acme-prod of rg-acme by ACME-ws": "in workspace of group by ACME-ws",
    "/azureml-envs/azureml_0f3a9c4b5d6e7f80112233445566778/bin": "/azureml-envs/azureml_0000000000000001/bin",
}


@pytest.mark.parametrize(("said", "kept"), SAID.items())
def test_what_tells_whose_a_step_was_is_replaced(said, kept):
    assert Scrubber({"ws-acme-prod": "workspace", "rg-acme": "group", "": "nothing"}).scrubbed(said) == kept


def test_a_recording_holds_files_and_names_without_traces(tmp_path):
    log, picture = tmp_path / "log.txt", tmp_path / "picture.png"
    log.write_text("\n".join(SAID))
    picture.write_bytes(b"\x89PNG\xff")
    folder = tmp_path / "kept"
    record(folder, "Failed", "on 52.166.13.64", {"logs/user/stdout/52.166.13.64/p.txt": log, "logs/p.png": picture}, {}, Scrubber({}))
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()] == [
        "step.json", "logs/logs/user/stdout/10.0.0.4/p.txt",
    ]  # fmt: skip
    assert list(traces_in(folder)) == []


def test_each_kind_of_trace_is_found(tmp_path):
    (tmp_path / "log.txt").write_text("\n".join(SAID) + "\nsig=abc")
    assert {sentence.partition(" holds ")[2].partition(":")[0] for sentence in traces_in(tmp_path)} == set(TRACES)


def test_no_recording_of_this_repository_tells_whose_it_was():
    names = sorted(path.name for path in RECORDED.iterdir() if path.is_dir())
    assert names
    assert [sentence for name in names for sentence in traces_in(RECORDED / name)] == []
