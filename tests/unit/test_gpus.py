"""Which GPUs a run may use: by the variable, else by the device files of a folder that stands for /dev."""

import pytest

from services import gpus
from services.settings import ParallelRunSettings


@pytest.fixture
def devices(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    return tmp_path


def test_gpus_are_the_device_files_in_their_order(devices):
    assert gpus.visible(devices) == ("0", "2", "10")


def test_without_device_files_there_are_none(devices):
    assert gpus.visible(devices / "nowhere") == ()


CHOICES = {"1": ("1",), "1, 0": ("1", "0"), "GPU-8f6a,MIG-1": ("GPU-8f6a", "MIG-1"), "": (), "-1": (), "0,-1,1": ("0",)}


@pytest.mark.parametrize(("variable", "expected"), CHOICES.items())
def test_the_variable_chooses_as_cuda_reads_it(devices, monkeypatch, variable, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert gpus.visible(devices) == expected


def test_workers_get_one_gpu_each_and_further_ones_none():
    given = [gpus.of_worker(number, ("4", "7")) for number in range(4)]
    assert given == [{"CUDA_VISIBLE_DEVICES": index} for index in ("4", "7", "", "")]


def test_without_gpus_nothing_is_set():
    assert gpus.of_worker(0, ()) == {}


def test_processes_per_node_are_one_by_default_where_there_is_a_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert [ParallelRunSettings(process_count_per_node=count).processes_per_node for count in (None, 3)] == [1, 3]
