"""How a manifest is cut into mini-batches."""

import os

from services.domain import DatasetFile
from services.local import batching
from services.local.batching import files_of
from services.local.run_folder import PlannedDataset
from services.settings import ParallelRunSettings
from services.storage.manifest import manifest_line, read_manifest

HOSTILE = ["a:b.csv", 'c,"d".csv', "=cmd|x.csv", "new\nline.csv", "ü/ñ.csv", os.fsdecode(b"bad\xff.csv"), "x" * 255]


def write_manifest(path, names):
    path.write_bytes(b"".join(manifest_line(DatasetFile(name, 1, 2)) for name in names))
    return path


def cut(manifests, size):
    datasets = [PlannedDataset("d:1", "/", str(manifest), 0) for manifest in manifests]
    return batching.cut(datasets, ParallelRunSettings(mini_batch_size=size))


def test_every_file_is_in_exactly_one_mini_batch_in_order(tmp_path):
    names = [f"f{i:03}.csv" for i in range(103)]
    manifest = write_manifest(tmp_path / "m", names)
    batches = list(cut([manifest], 10))
    assert [batch.index for batch in batches] == list(range(11))
    assert [batch.item_count for batch in batches] == [10] * 10 + [3]
    assert [file.path for batch in batches for file in files_of(manifest, batch)] == names


def test_the_cut_is_the_same_every_time(tmp_path):
    manifest = write_manifest(tmp_path / "m", HOSTILE)
    assert list(cut([manifest], 3)) == list(cut([manifest], 3))


def test_hostile_names_come_back_unharmed(tmp_path):
    manifest = write_manifest(tmp_path / "m", HOSTILE)
    assert [file.path for file in read_manifest(manifest)] == HOSTILE
    assert manifest.read_bytes().isascii()


def test_several_datasets_are_cut_separately_and_numbered_through(tmp_path):
    first, second = write_manifest(tmp_path / "a", ["1", "2", "3"]), write_manifest(tmp_path / "b", ["4"])
    assert [(b.index, b.dataset, b.item_count) for b in cut([first, second], 2)] == [(0, 0, 2), (1, 0, 1), (2, 1, 1)]


def test_a_part_of_a_manifest_can_be_read(tmp_path):
    manifest = write_manifest(tmp_path / "m", [str(i) for i in range(10)])
    assert [file.path for file in read_manifest(manifest, 7, 2)] == ["7", "8"]
