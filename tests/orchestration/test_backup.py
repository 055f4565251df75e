"""Backups: made while others write, whole or not there, put back only if all of it is whole."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from orchestration.care import backup as backup_module
from orchestration.care.archive import BackupError, read_archive, writing
from orchestration.care.backup import back_up
from orchestration.care.named_files import list_checkpoint_files
from orchestration.care.restore import restore
from orchestration.job_store.ledger import JobLedger
from orchestration.job_store.store import SqlJobStore
from rl.training.shared_checkpoints import SharedCheckpoints
from tests.postgres import open_server_database
from tests.training.shelf import AGENT, Shelf
from utils.clock import SystemClock
from utils.persistence.engine import open_database
from utils.persistence.experiments import metric
from utils.persistence.jobs import checkpoint, job
from utils.persistence.registry import model_alias

pytestmark = pytest.mark.anyio
CLOCK = SystemClock()
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def shelf(tmp_path):
    """A promoted run, and a job whose spec names folders."""
    var = tmp_path / "var"
    database = await open_database(var / "quartermaster.sqlite")
    shelf = Shelf(database, var)
    await shelf.add_run()
    await shelf.fill()
    await shelf.promote(1)
    store = SqlJobStore(JobLedger(database, CLOCK))
    await store.submit("train", {"run_root": f"{var}/runs", "name": "variable"})
    yield shelf
    await database.aclose()


@contextlib.asynccontextmanager
async def opened(var):
    database = await open_database(var / "quartermaster.sqlite")
    try:
        yield database
    finally:
        await database.aclose()


async def rows(database, *columns):
    async with database.read() as connection:
        return [tuple(row) for row in await connection.execute(select(*columns))]


def is_file(path):
    return Path(path).is_file()


def run(*words):
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


@contextlib.contextmanager
def held_open(path):
    """Another process has the file open; gives its number."""
    words = [sys.executable, "-c", f"f = open({str(path)!r}); print('open'); input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        user.stdout.readline()
        yield user.pid
        user.communicate(b"\n")


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


async def test_everything_comes_back_elsewhere(shelf, tmp_path):
    path, place = tmp_path / "b.tar", tmp_path / "new" / "var"
    done = await back_up(shelf.database, shelf.folder, path, clock=CLOCK)
    assert (done.has_database, done.left_out) == (True, ())
    assert done.size_bytes == path.stat().st_size
    assert leftovers(tmp_path) == []
    back = await restore(path, place, clock=CLOCK)
    assert (back.num_files, back.moved_aside) == (done.num_files, None)
    assert leftovers(place.parent) == []
    there = Shelf(shelf.database, place).files()
    assert {name: there[name] for name in there if not name.startswith(".")} == shelf.files()
    async with opened(place) as database:
        assert await rows(database, model_alias.c.agent) == [(AGENT,)]
        assert await rows(database, job.c.spec) == [
            ({"run_root": f"{place}/runs", "name": "variable"},)
        ]
        ready = await rows(database, checkpoint.c.path, checkpoint.c.state)
        assert all(is_file(one) for one, state in ready if state == "ready")
        assert all(one.startswith(f"{place}/") for one, _ in ready)
        assert len(await rows(database, metric)) == 101


async def test_a_checkpoint_of_another_machine_is_kept_by_its_shared_copy(shelf, tmp_path):
    artifacts, folder = shelf.places.artifacts, shelf.places.folder("r1")
    shared = SharedCheckpoints(artifacts, folder)
    ready = await rows(shelf.database, checkpoint.c.id, checkpoint.c.path, checkpoint.c.state)
    kept = [(id_, Path(path)) for id_, path, state in ready if state == "ready"]
    async with shelf.database.write() as connection:
        for id_, path in kept:
            shared.share(SimpleNamespace(path=path))
            elsewhere = update(checkpoint).where(checkpoint.c.id == id_)
            await connection.execute(elsewhere.values(path=f"/elsewhere/{path.name}"))
    shutil.rmtree(folder / "checkpoints")
    path, place = tmp_path / "b.tar", tmp_path / "new" / "var"
    assert (await back_up(shelf.database, shelf.folder, path, clock=CLOCK)).left_out == ()
    await restore(path, place, clock=CLOCK)
    async with opened(place) as database, database.read() as connection:
        files = await list_checkpoint_files(connection, place / "artifacts")
    assert len(files) == len(kept) > 0
    assert [file.find_fault() for file in files] == [None] * len(kept)
    manifest = json.loads(files[0].place.read_bytes())
    tensors = manifest["tensors_sha256"]
    (place / "artifacts" / tensors[:2] / tensors).unlink()
    assert "is missing" in files[0].find_fault()


async def test_work_goes_on_meanwhile(shelf, tmp_path):
    """Each copy holds a beginning of what is written, nothing torn."""
    path = tmp_path / "b.tar"
    stopped = anyio.Event()
    written = 0

    async def write():
        nonlocal written
        while not stopped.is_set():
            async with shelf.database.write() as connection:
                for name in ("a", "b"):
                    line = {"run_id": "r1", "step": 1000 + written, "key": name, "value": 1.0}
                    await connection.execute(insert(metric), {**line, "at": CLOCK.now()})
            written += 1

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        while written < 3:
            await anyio.lowlevel.checkpoint()
        await back_up(shelf.database, shelf.folder, path, clock=CLOCK)
        during = written
        stopped.set()
    assert during > 3
    await restore(path, tmp_path / "back", clock=CLOCK)
    async with opened(tmp_path / "back") as database:
        steps = [step for (step,) in await rows(database, metric.c.step) if step >= 1000]
    assert sorted(steps) == sorted(2 * list(range(1000, 1000 + len(steps) // 2)))
    assert 3 <= len(steps) // 2 <= written


async def test_a_checkpoint_that_its_run_threw_away_meanwhile_is_no_fault(
    shelf, tmp_path, monkeypatch
):
    copy, calls = backup_module._copy, []

    def copy_then_lose(source, place):
        copy(source, place)
        if not calls:
            for path in (shelf.folder / "runs" / "r1" / "checkpoints").glob("step-*40.*"):
                path.unlink()
            with contextlib.closing(sqlite3.connect(source)) as connection, connection:
                connection.execute("UPDATE checkpoint SET state='deleted' WHERE step=40")
        calls.append(1)

    monkeypatch.setattr(backup_module, "_copy", copy_then_lose)
    done = await back_up(shelf.database, shelf.folder, tmp_path / "b.tar", clock=CLOCK)
    assert (len(calls), done.left_out) == (2, ())


async def test_what_is_damaged_is_told_and_noted_as_gone(shelf, tmp_path):
    newest = max((shelf.folder / "runs" / "r1" / "checkpoints").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1])
    next(path for path in (shelf.folder / "artifacts").glob("*/*")).unlink()
    done = await back_up(shelf.database, shelf.folder, tmp_path / "b.tar", clock=CLOCK)
    assert len(done.left_out) == 2
    assert {"hash" in fault or "missing" in fault for fault in done.left_out} == {True}
    await restore(tmp_path / "b.tar", tmp_path / "back", clock=CLOCK)
    async with opened(tmp_path / "back") as database:
        found = await rows(database, checkpoint.c.path, checkpoint.c.state)
        states = {Path(one).stem: state for one, state in found}
    assert states[newest.stem] == "deleted"
    async with opened(shelf.folder) as database:
        assert ("ready",) in await rows(database, checkpoint.c.state)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "b.tar"
    with writing(path) as writer:
        for name in ("artifacts/a", "runs/b"):
            source = path.with_name(name.replace("/", "-"))
            source.write_bytes(name.encode() * 100)
            writer.add(name, source)
        writer.finish({"format": "x"})
    return path


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.floats(0, 0.9999), bit=st.integers(0, 7), cut=st.booleans())
def test_damage_is_noticed_or_meaningless(archive, tmp_path_factory, place, bit, cut):
    """Some bytes of a tar mean nothing; whatever is accepted has the content that was written."""
    content = bytearray(archive.read_bytes())
    end = content.rstrip(b"\0")
    position = int(place * len(end))
    if cut:
        del content[position:]
    else:
        content[position] ^= 1 << bit
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "b.tar").write_bytes(content)
    try:
        read_archive(folder / "b.tar", folder / "out")
    except BackupError:
        return
    assert not cut or position >= len(end) - 1
    for name in ("artifacts/a", "runs/b"):
        assert (folder / "out" / name).read_bytes() == name.encode() * 100


def build(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))


MANIFEST = ("manifest.json", b'{"format": "quartermaster-backup", "files": {}}')
HOSTILE = {
    "up": [("../x", b"x"), MANIFEST],
    "inside": [("runs/../../x", b"x"), MANIFEST],
    "absolute": [("/tmp/x", b"x"), MANIFEST],
    "link": [("runs/x", None), MANIFEST],
    "unnamed": [("runs/x", b"x"), MANIFEST],
    "twice": [("runs/x", b"x"), ("runs/x", b"y"), MANIFEST],
    "after": [MANIFEST, ("runs/x", b"x")],
    "no end": [("runs/x", b"x")],
    "no files": [("manifest.json", b'{"format": "quartermaster-backup"}')],
    "no object": [("manifest.json", b"[1]")],
    "no json": [("manifest.json", b"{")],
    "foreign": [("manifest.json", b'{"files": {}}')],
    "newer": [("manifest.json", b'{"format": "quartermaster-backup", "version": 9, "files": {}}')],
    "empty": [],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
async def test_what_is_no_backup_changes_nothing(tmp_path, members):
    build(tmp_path / "b.tar", members)
    with pytest.raises(BackupError):
        await restore(tmp_path / "b.tar", tmp_path / "a" / "var", clock=CLOCK)
    assert not (tmp_path / "a" / "var").exists()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["b.tar"]


@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 20_000])
async def test_no_tar_is_no_backup(tmp_path, content):
    (tmp_path / "b.tar").write_bytes(content)
    with pytest.raises(BackupError, match="backup"):
        await restore(tmp_path / "b.tar", tmp_path / "var", clock=CLOCK)
    with pytest.raises(BackupError, match="No such file"):
        await restore(tmp_path / "none.tar", tmp_path / "var", clock=CLOCK)


async def test_a_full_folder_is_refused_or_moved_aside_unless_in_use(shelf, tmp_path):
    path, place = tmp_path / "b.tar", tmp_path / "there"
    await back_up(shelf.database, shelf.folder, path, clock=CLOCK)
    place.mkdir()
    await restore(path, place, clock=CLOCK)  # empty: fine
    (place / "mine.txt").write_text("x")
    with pytest.raises(BackupError, match="add --force"):
        await restore(path, place, clock=CLOCK)
    with (
        held_open(place / "quartermaster.sqlite") as pid,
        pytest.raises(BackupError, match=f"in use by process {pid}"),
    ):
        await restore(path, place, clock=CLOCK, force=True)
    done = await restore(path, place, clock=CLOCK, force=True)
    assert (done.moved_aside / "mine.txt").read_text() == "x"
    assert not (place / "mine.txt").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(BackupError, match="is no folder"):
        await restore(path, tmp_path / "file", clock=CLOCK)


async def test_a_damaged_database_is_not_backed_up_nor_restored(shelf, tmp_path):
    path = tmp_path / "b.tar"
    await back_up(shelf.database, shelf.folder, path, clock=CLOCK)
    out = tmp_path / "out"
    manifest = read_archive(path, out)
    content = bytearray((out / "quartermaster.sqlite").read_bytes())
    content[4096 * 3 : 4096 * 6] = b"\xff" * 4096 * 3
    (out / "quartermaster.sqlite").write_bytes(content)
    damaged = tmp_path / "d.tar"
    with writing(damaged) as writer:
        for name in manifest["files"]:
            writer.add(name, out / name)
        writer.finish({name: value for name, value in manifest.items() if name != "files"})
    with pytest.raises(BackupError, match="is damaged"):
        await restore(damaged, tmp_path / "back", clock=CLOCK)
    assert not (tmp_path / "back").exists()


async def test_one_writer_a_file(tmp_path):
    with writing(tmp_path / "b.tar") as writer:
        with pytest.raises(BackupError, match="another backup"), writing(tmp_path / "b.tar"):
            pass
        writer.finish({})
    assert read_archive(tmp_path / "b.tar") == {"files": {}}


KILLS = """
import os, resource, signal, sys
from pathlib import Path
import anyio
from orchestration.care import archive
from orchestration.care.archive import ArchiveWriter, BackupError, read_archive
from orchestration.care.backup import back_up
from utils.clock import SystemClock
from utils.persistence.engine import open_database

var, target = Path(sys.argv[1]), Path(sys.argv[2])

async def run():
    database = await open_database(var / "quartermaster.sqlite")
    await back_up(database, var, target, clock=SystemClock())
    await database.aclose()

def child(prepare):
    pid = os.fork()
    if pid == 0:
        prepare()
        try:
            anyio.run(run)
        except BackupError as error:
            os.write(1, f"{error}\\n".encode())
            os._exit(9)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def dying_at(number):
    def prepare():
        calls = 0
        def counted(function):
            def call(*arguments):
                nonlocal calls
                calls += 1
                if calls == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments)
            return call
        ArchiveWriter.add = counted(ArchiveWriter.add)
        ArchiveWriter.finish = counted(ArchiveWriter.finish)
        archive.read_archive = counted(archive.read_archive)
        Path.replace = counted(Path.replace)
    return prepare

number = 0
while True:
    number += 1
    code = child(dying_at(number))
    if code == 0:
        break
    assert code == -signal.SIGKILL, code
    assert not target.exists(), number
whole = target.read_bytes()
for again in range(1, number):
    assert child(dying_at(again)) == -signal.SIGKILL
    assert target.read_bytes() == whole, again
copied = (var / "quartermaster.sqlite").stat().st_size
room = (copied + len(whole)) // 2  # the copy of the database has room, the archive has not
limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
code = child(limit)
assert code == 9, code
assert target.read_bytes() == whole
print(number, sorted(p.name for p in target.parent.iterdir() if p.name.startswith(".")))
"""


async def test_killed_anywhere_no_half_backup_has_the_name(shelf, tmp_path):
    """At every step of a backup: kill -9, then once without any space left."""
    target = tmp_path / "b.tar"
    done = run(sys.executable, "-c", KILLS, str(shelf.folder), str(target))
    assert done.returncode == 0, done.stderr
    message, summary = done.stdout.splitlines()
    assert "File too large. Free some space" in message
    assert int(summary.split()[0]) > 8
    assert summary.endswith("[]")
    read_archive(target)


async def test_files_beside_a_server_are_kept_and_its_own_tool_is_named(server_url, tmp_path):
    var, path = tmp_path / "var", tmp_path / "b.tar"
    async with open_server_database(server_url, tmp_path) as database:
        shelf = Shelf(database, var)
        await shelf.add_run()
        await shelf.fill()
        done = await back_up(database, var, path, clock=CLOCK)
    assert (done.has_database, done.left_out) == (False, ())
    assert "quartermaster.sqlite" not in read_archive(path)["files"]
    with pytest.raises(BackupError, match="--var"):
        await restore(path, tmp_path / "other", clock=CLOCK)
    files = shelf.files()
    var.rename(tmp_path / "lost")
    assert not (await restore(path, var, clock=CLOCK)).has_database
    assert shelf.files() == files
