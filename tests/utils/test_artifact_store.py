"""Artifacts come back as they went in, or not at all."""

from __future__ import annotations

import errno
import hashlib
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.errors import ArtifactCorruptError, ArtifactMissingError


@pytest.fixture
def store(tmp_path):
    return DirectoryArtifactStore(tmp_path / "artifacts")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(content=st.binary(max_size=200))
def test_bytes_come_back_under_their_hash(store, content):
    sha256 = store.put(content)
    assert sha256 == hashlib.sha256(content).hexdigest() == store.put(content)
    assert store.get(sha256) == content == store.path(sha256).read_bytes()


@pytest.mark.parametrize("damage", [b"policy!", b"polic", b""])
def test_damaged_artifact_is_refused_and_mended_by_storing_again(store, damage):
    sha256 = store.put(b"policy")
    store.path(sha256).write_bytes(damage)
    with pytest.raises(ArtifactCorruptError, match="store the artifact again"):
        store.get(sha256)
    store.put(b"policy")
    assert store.get(sha256) == b"policy"


@pytest.mark.parametrize("sha256", ["0" * 64, "../../etc/passwd", "", "A" * 64])
def test_unknown_names_are_missing(store, sha256):
    with pytest.raises(ArtifactMissingError):
        store.get(sha256)
    with pytest.raises(ArtifactMissingError):
        store.path(sha256)


def test_full_disk_leaves_nothing_behind(store, tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        store.put(b"policy")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
