"""A file is whole or absent: under a full disk, a kill in the middle, and several writers."""

from __future__ import annotations

import hashlib
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from utils.errors import ConfigError
from utils.persistence.files import hash_file, read_json, write_atomically

KILLED_BEFORE_THE_RENAME = """
import os, pathlib, signal, sys
from utils.persistence.files import write_atomically
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(pathlib.Path(sys.argv[1]), b"new" * 1000)
"""


@contextmanager
def disk_with_room_for(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_content_and_its_hash_are_there(tmp_path):
    path = tmp_path / "new" / "folder" / "file.bin"
    digest = write_atomically(path, b"content")
    assert path.read_bytes() == b"content"
    assert digest == hash_file(path) == hashlib.sha256(b"content").hexdigest()


def test_a_later_write_replaces_an_earlier_one(tmp_path):
    path = tmp_path / "file.bin"
    write_atomically(path, b"a long first version")
    write_atomically(path, b"short")
    assert path.read_bytes() == b"short"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_former_file_and_no_rubbish(tmp_path):
    path = tmp_path / "file.bin"
    write_atomically(path, b"former")
    with disk_with_room_for(1000), pytest.raises(OSError, match="too large"):
        write_atomically(path, b"x" * 100_000)
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_in_the_middle_leaves_the_former_file(tmp_path):
    path = tmp_path / "file.bin"
    write_atomically(path, b"former")
    command = [sys.executable, "-c", KILLED_BEFORE_THE_RENAME, str(path)]
    killed = subprocess.run(command, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"former"


def test_several_writers_leave_one_whole_file(tmp_path):
    path = tmp_path / "file.bin"
    contents = [bytes([number]) * 50_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            list(pool.map(lambda content: write_atomically(path, content), contents))
            assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["{", '{"unknown": 1}', "[]", "null", "\x00"])
def test_damaged_files_of_ours_are_named(tmp_path, content):
    path = tmp_path / "diary.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"diary\.json is damaged .*move it away and go on"):
        read_json(path, lambda values: {"seed": values["seed"]})
    path.write_text('{"seed": 3}')
    assert read_json(path, dict) == {"seed": 3}
