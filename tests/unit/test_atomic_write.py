"""A file that is written atomically is there as a whole or as it was: after an error, a full disk, a kill, and with several writers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services import PROJECT_ROOT
from services.storage.atomic import atomic_write, write_atomically


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "kept.txt"
    path.write_text("before", encoding="utf-8")
    return path


def _python(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", f"import sys, os\nfrom pathlib import Path\nfrom services.storage.atomic import *\n{code}"]
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, *map(str, arguments)], cwd=PROJECT_ROOT, stdin=pipe, stdout=pipe, stderr=pipe)


def test_a_block_that_ends_replaces_the_file(kept: Path):
    with atomic_write(kept) as temporary:
        temporary.write_text("after", encoding="utf-8")
        assert kept.read_text("utf-8") == "before"
    assert kept.read_text("utf-8") == "after"
    assert os.listdir(kept.parent) == ["kept.txt"]


def test_a_block_that_raises_leaves_the_file_alone(kept: Path):
    def write() -> None:
        with atomic_write(kept) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        write()
    assert kept.read_text("utf-8") == "before"
    assert os.listdir(kept.parent) == ["kept.txt"]


def test_a_block_that_writes_nothing_raises(kept: Path):
    with pytest.raises(FileNotFoundError), atomic_write(kept):
        pass
    assert kept.read_text("utf-8") == "before"


def test_a_missing_folder_raises(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "file.txt", "text")


def test_text_is_written_as_utf_8_without_translated_newlines(tmp_path: Path):
    write_atomically(tmp_path / "file.txt", "ä\n")
    assert (tmp_path / "file.txt").read_bytes() == b"\xc3\xa4\n"


def test_a_name_of_full_length_can_be_written(tmp_path: Path):
    write_atomically(tmp_path / ("n" * 255), b"whole")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]


@pytest.mark.skipif(os.name == "nt", reason="no signals")
def test_a_process_killed_half_way_leaves_the_file_alone(kept: Path):
    code = """
with atomic_write(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    print("written", flush=True)
    sys.stdin.read()
"""
    writer = _python(code, kept)
    assert writer.stdout
    assert writer.stdout.readline() == b"written\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert kept.read_text("utf-8") == "before"
    write_atomically(kept, "after")  # what the killed one left is in nobody's way
    assert kept.read_text("utf-8") == "after"


@pytest.mark.skipif(os.name == "nt", reason="no limits of a process")
def test_a_full_disk_leaves_the_file_alone(kept: Path):
    code = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(Path(sys.argv[1]), b"x" * 5000)
except OSError as error:
    print(error.errno == 27, flush=True)
"""
    writer = _python(code, kept)
    assert writer.communicate()[0] == b"True\n"
    assert kept.read_text("utf-8") == "before"
    assert os.listdir(kept.parent) == ["kept.txt"]


def test_threads_and_processes_may_write_one_file(kept: Path):
    code = "for _ in range(200): write_atomically(Path(sys.argv[1]), sys.argv[2] * 10_000)"
    writers = [_python(code, kept, letter) for letter in "ab"]
    with ThreadPoolExecutor(2) as pool:
        threads = [pool.submit(lambda letter: [write_atomically(kept, letter * 10_000) for _ in range(200)], letter) for letter in "cd"]
        while any(writer.poll() is None for writer in writers) or not all(thread.done() for thread in threads):
            content = kept.read_text("utf-8")
            assert content == "before" or (len(content) == 10_000 and len(set(content)) == 1)
    assert [writer.communicate()[1] for writer in writers] == [b"", b""]
    assert os.listdir(kept.parent) == ["kept.txt"]
