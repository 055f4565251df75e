"""Checkpoints for other machines: put into the artifact store file by file, fetched by hash.

A manifest names all that belongs to it by hash: its tensors, and the few files of the run's folder
that a resumed training reads. The manifest goes last, so whoever finds it finds the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rl.training.checkpoint_files import FILE_NAME
from rl.training.recorder import CheckpointRecord
from rl.training.run_diary import DIARY_FILE, read_diary
from utils.config import to_json
from utils.errors import QuartermasterError
from utils.persistence.artifact_store import ArtifactStore, DirectoryArtifactStore
from utils.persistence.errors import ArtifactCorruptError, ArtifactMissingError
from utils.persistence.files import hash_file, write_atomically

CURVE_FILE: Final = "curve.json"
EXPERTS_FILE: Final = "experts.json"
BESIDE: Final = (EXPERTS_FILE, CURVE_FILE, DIARY_FILE)
_SHA256 = re.compile(r"[0-9a-f]{64}")


class CheckpointAbsentError(QuartermasterError):
    """A checkpoint lies on another machine and was not shared."""


class SharedCheckpoints:
    """The way of one run's checkpoints between its folder and the store."""

    def __init__(self, store: ArtifactStore, folder: Path) -> None:
        """Remember both ends.

        Args:
            store: What all machines reach.
            folder: Of the run, on this machine.
        """
        self._store = store
        self._folder = folder

    def share_beside(self) -> dict[str, str]:
        """Put what a resumed training reads beside its checkpoint; return the hashes by name."""
        return {
            name: self._store.put(content)
            for name in BESIDE
            if (content := self._read_beside(name)) is not None
        }

    def share(self, checkpoint: CheckpointRecord) -> None:
        """Put a checkpoint into the store, all but what is there already.

        Args:
            checkpoint: Whole, in the run's folder.

        Raises:
            ArtifactsUnreachableError: The store does not answer, or refuses.
        """
        path = Path(checkpoint.path)
        manifest = path.read_bytes()
        self._store.put((path.parent / _read(manifest)["tensors_file"]).read_bytes())
        self._store.put(manifest)

    def fetch(self, path: str, sha256: str, into: str) -> str:
        """Return where a checkpoint lies on this machine; it is fetched if need be.

        Args:
            path: Of its manifest, on the machine that wrote it.
            sha256: Of its manifest.
            into: Folder inside the run's, for one that is fetched.

        Raises:
            CheckpointAbsentError: It is neither here nor in the store.
            ArtifactCorruptError: The store holds something else under its hashes.
            ArtifactsUnreachableError: The store does not answer, or refuses.
        """
        here = Path(path)
        if here.is_file() and hash_file(here) == sha256:
            return path
        here = self._folder / into / here.name
        try:
            manifest = self._store.get(sha256)
            named = _read(manifest)
            tensors = self._store.get(named["tensors_sha256"])
            beside = {name: self._store.get(one) for name, one in named["beside"].items()}
        except ArtifactMissingError as error:
            raise CheckpointAbsentError(
                f"checkpoint {path} is not on this machine, nor with the shared artifacts "
                f"({error}): go on where it lies, or start the run anew"
            ) from error
        for name, content in beside.items():
            if into == "checkpoints":
                write_atomically(self._folder / name, content)
        write_atomically(here.parent / named["tensors_file"], tensors)
        write_atomically(here, manifest)
        return str(here)

    def _read_beside(self, name: str) -> bytes | None:
        path = self._folder / name
        if not path.is_file():
            return None
        if name != DIARY_FILE:
            return path.read_bytes()
        diary = read_diary(self._folder)
        if diary is None:
            return None
        timeless = replace(diary, cpu_seconds=0.0)  # the time would make equal runs differ
        return json.dumps(to_json(timeless)).encode()


def list_named(store: DirectoryArtifactStore, manifests: Iterable[str]) -> set[str]:
    """Return the hashes of all that shared checkpoints consist of, manifests included.

    Args:
        store: Holds some of them.
        manifests: Hashes of the manifests.
    """
    found: set[str] = set()
    for sha256 in manifests:
        if store.holds(sha256):
            found.add(sha256)
            try:
                named = _read(store.get(sha256))
            except ArtifactCorruptError:
                continue
            found |= {named["tensors_sha256"], *named["beside"].values()}
    return found


def _read(manifest: bytes) -> dict[str, Any]:
    """Return the names in a manifest, none of which leads out of its folder."""
    try:
        read = json.loads(manifest)
        tensors, sha256 = str(read["tensors_file"]), read["tensors_sha256"]
        beside = {str(name): str(one) for name, one in read.get("beside", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactCorruptError("a shared checkpoint's manifest cannot be read") from error
    hashes = [sha256, *beside.values()]
    if not FILE_NAME.fullmatch(tensors) or not beside.keys() <= set(BESIDE):
        raise ArtifactCorruptError("a shared checkpoint's manifest names files that it must not")
    if not all(_SHA256.fullmatch(str(one)) for one in hashes):
        raise ArtifactCorruptError("a shared checkpoint's manifest names no hashes")
    return {"tensors_file": tensors, "tensors_sha256": sha256, "beside": beside}
