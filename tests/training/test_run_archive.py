"""Runs in a file: the same bytes for the same run, and nothing of a bad one is kept."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from rl.training import run_archive
from rl.training.checkpointing import CheckpointFolder, load_checkpoint
from rl.training.run_archive import ArchiveError
from rl.training.run_places import RunBusyError
from tests.postgres import open_server_database
from tests.training.shelf import Shelf
from utils.persistence import experiments
from utils.persistence.engine import open_database
from utils.persistence.run_facts import change_tags
from utils.persistence.run_log import RunState
from utils.persistence.run_queries import get_run, list_checkpoints, read_curve

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Durability has tests of its own."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
async def here(tmp_path):
    database = await open_database(tmp_path / "here" / "q.sqlite")
    shelf = Shelf(database, tmp_path / "here")
    await shelf.add_run()
    shelf.records = await shelf.fill()
    yield shelf
    await database.aclose()


@pytest.fixture
async def there(tmp_path):
    database = await open_database(tmp_path / "there" / "q.sqlite")
    yield Shelf(database, tmp_path / "there")
    await database.aclose()


@pytest.fixture
async def archive(here, tmp_path):
    path = tmp_path / "run.tar.gz"
    await here.shelf.export("r1", path)
    return path


async def details(shelf, run_id="r1"):
    async with shelf.database.read() as connection:
        return await get_run(connection, run_id)


async def nothing_is_there(shelf):
    async with shelf.database.read() as connection:
        runs = list(await connection.scalars(select(experiments.run.c.id)))
    return not runs and shelf.files() == {} and not list(shelf.folder.glob("runs/*"))


async def is_the_same_run_as(here, there, archive, tmp_path):
    ours, theirs = await details(here), await details(there)
    for name in ("config", "versions", "code_commit", "code_dirty", "evaluations", "facts"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.latest == theirs.latest
    assert ours.summary == theirs.summary
    for shelf in (here, there):
        async with shelf.database.read() as connection:
            shelf.curve = await read_curve(connection, "r1", "return")
            shelf.checkpoints = await list_checkpoints(connection, "r1")
    assert here.curve == there.curve
    assert len(there.curve) == 50
    assert [one.step for one in there.checkpoints] == [40, 30, 10]
    for one in there.checkpoints:
        assert load_checkpoint(one.path, one.sha256).record.env_steps == one.step
        assert str(there.folder) in one.path
    assert there.files() == here.files()
    await there.shelf.export("r1", tmp_path / "again.tar.gz")
    assert (tmp_path / "again.tar.gz").read_bytes() == archive.read_bytes()


async def test_a_run_is_the_same_elsewhere_and_exports_to_the_same_bytes(
    here, there, archive, tmp_path
):
    done = await there.shelf.take_in(archive)
    assert (done.run_id, done.is_new) == ("r1", True)
    await is_the_same_run_as(here, there, archive, tmp_path)
    newest = CheckpointFolder(there.places.folder("r1") / "checkpoints").newest()
    assert newest.checkpoint.record.env_steps == 40


async def test_a_run_moves_from_sqlite_to_postgresql(here, archive, tmp_path, server_url):
    async with open_server_database(server_url, tmp_path) as database:
        there = Shelf(database, tmp_path / "there")
        assert (await there.shelf.take_in(archive)).is_new
        await is_the_same_run_as(here, there, archive, tmp_path)
        assert not (await there.shelf.take_in(archive)).is_new


async def test_the_same_again_changes_nothing_and_another_is_refused(here, there, archive):
    await there.shelf.take_in(archive)
    before = there.files()
    assert not (await there.shelf.take_in(archive)).is_new
    await there.write(change_tags, "r1", add=["mine"])
    with pytest.raises(ArchiveError, match=r"not the same: rows differ in beside"):
        await there.shelf.take_in(archive)
    await there.write(change_tags, "r1", remove=["mine"])
    (there.places.folder("r1") / "report" / "report.md").write_text("mine")
    with pytest.raises(ArchiveError, match=r"files differ in run/report/report.md"):
        await there.shelf.take_in(archive)
    assert set(there.files()) == set(before)
    await there.shelf.delete("r1", confirm="r1")
    with pytest.raises(ArchiveError, match="deleted here"):
        await there.shelf.take_in(archive)


async def test_a_running_run_and_one_with_a_missing_file_are_not_exported(here, tmp_path):
    await here.add_run("r2", state=RunState.RUNNING)
    with pytest.raises(RunBusyError):
        await here.shelf.export("r2", tmp_path / "r2.tar.gz")
    sha256 = (await details(here)).facts.artifacts[0].sha256
    here.places.artifacts.path(sha256).unlink()
    with pytest.raises(LookupError, match=sha256):
        await here.shelf.export("r1", tmp_path / "r1.tar.gz")
    assert not list(tmp_path.glob("*.tar.gz"))
    assert {path.name for path in here.places.runs.iterdir()} == {"r1"}


async def test_any_flipped_byte_is_refused_and_nothing_is_left(there, archive, tmp_path):
    content, bad = archive.read_bytes(), tmp_path / "bad.tar.gz"
    places = {*range(12), *range(0, len(content), len(content) // 30), *range(-9, 0)}
    for place in sorted(places):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF  # of single bits a few, which pad the last block, mean nothing
        bad.write_bytes(damaged)
        with pytest.raises(ArchiveError, match=r"bad\.tar\.gz"):
            await there.shelf.take_in(bad)
    for cut in (0, 5, len(content) // 2, len(content) - 1):
        bad.write_bytes(content[:cut])
        with pytest.raises(ArchiveError, match=r"bad\.tar\.gz"):
            await there.shelf.take_in(bad)
    bad.write_bytes(content + b"more")
    with pytest.raises(ArchiveError):
        await there.shelf.take_in(bad)
    assert await nothing_is_there(there)


def members_of(archive):
    with tarfile.open(archive) as opened:
        return {one.name: opened.extractfile(one).read() for one in opened}


def pack(path, members):
    """Write an archive by hand: (TarInfo or name, content) each."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as opened:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    with path.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as zipped:
        zipped.write(packed.getvalue())
    return path


def renamed(manifest, old, new):
    files = {new if name == old else name: entry for name, entry in manifest["files"].items()}
    return {**manifest, "files": files}


REPORT = "run/report/report.md"


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/evil",
        "run/../../evil",
        "run/./x",
        "run//x",
        "run/..\\evil",
        "artifacts/../../evil",
        "artifacts/short",
        "evil",
    ],
)
async def test_names_that_leave_the_folder_are_refused(there, archive, tmp_path, name):
    members = members_of(archive)
    manifest = renamed(json.loads(members.pop("manifest.json")), REPORT, name)
    members[name] = members.pop(REPORT)
    bad = [("manifest.json", json.dumps(manifest).encode()), *members.items()]
    with pytest.raises(ArchiveError, match="would leave the folder"):
        await there.shelf.take_in(pack(tmp_path / "bad.tar.gz", bad))
    assert await nothing_is_there(there)
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
async def test_only_plain_files_are_unpacked(there, archive, tmp_path, kind):
    members = members_of(archive)
    link = tarfile.TarInfo(REPORT)
    link.type, link.linkname = kind, "/etc/passwd"
    members = [
        (link if name == REPORT else name, b"" if name == REPORT else content)
        for name, content in members.items()
    ]
    with pytest.raises(ArchiveError, match=r"report\.md"):
        await there.shelf.take_in(pack(tmp_path / "bad.tar.gz", members))
    assert await nothing_is_there(there)


def change_rows(change):
    def changed(manifest):
        change(manifest["rows"])
        return manifest

    return changed


BAD_MANIFESTS = {
    "another format": lambda m: {**m, "version": 2},
    "an id that is a path": lambda m: {**m, "run_id": "../r1"},
    "no rows": lambda m: {**m, "rows": {}},
    "no mapping": lambda m: [],
    "an unknown column": change_rows(lambda rows: rows["run"].update(evil=1)),
    "a missing column": change_rows(lambda rows: rows["run"].pop("state")),
    "a wrong time": change_rows(lambda rows: rows["run"].update(created_at="yesterday")),
    "a null": change_rows(lambda rows: rows["run"].update(seed=None)),
    "a foreign checkpoint": change_rows(
        lambda rows: rows["beside"]["checkpoint"][0].update(path="../../x", state="ready")
    ),
    "an artifact that is not there": change_rows(
        lambda rows: rows["beside"]["run_artifact"][0].update(sha256="0" * 64)
    ),
    "a model that is not there": change_rows(
        lambda rows: rows["models"][0].update(sha256="0" * 64)
    ),
    "a broken model": change_rows(lambda rows: rows["models"][0].pop("agent")),
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
async def test_a_malformed_manifest_is_refused_and_nothing_is_left(there, archive, tmp_path, name):
    members = members_of(archive)
    manifest = BAD_MANIFESTS[name](json.loads(members.pop("manifest.json")))
    members = [("manifest.json", json.dumps(manifest).encode()), *members.items()]
    with pytest.raises(ArchiveError):
        await there.shelf.take_in(pack(tmp_path / "bad.tar.gz", members))
    assert await nothing_is_there(there)


async def test_other_files_are_no_archives(there, tmp_path):
    for content in (b"", b"my diary", gzip.compress(b"my diary", 9, mtime=0)):
        (tmp_path / "diary").write_bytes(content)
        with pytest.raises(ArchiveError, match="diary"):
            await there.shelf.take_in(tmp_path / "diary")
    with pytest.raises(ArchiveError, match="No such file"):
        await there.shelf.take_in(tmp_path / "nothing")
    assert await nothing_is_there(there)


async def test_an_import_that_was_killed_at_its_end_can_be_repeated(here, there, archive):
    there.places.folder("r1").mkdir(parents=True)  # placed, but its transaction did not commit
    (there.places.folder("r1") / "half").write_text("x")
    assert (await there.shelf.take_in(archive)).is_new
    assert there.files() == here.files()


async def test_a_transaction_that_breaks_leaves_nothing(there, archive, monkeypatch):
    def broken(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_archive, "sync_folder", broken)
    with pytest.raises(ArchiveError, match="No space left"):
        await there.shelf.take_in(archive)
    assert await nothing_is_there(there)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.text(max_size=12))
def test_no_safe_name_leaves_its_folder(tmp_path_factory, name):
    if run_archive._is_safe(f"run/{name}"):
        root = tmp_path_factory.getbasetemp() / "run"
        assert (root / name).resolve(strict=False).is_relative_to(root.resolve())
