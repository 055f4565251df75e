"""Artifacts come back as they went in, or not at all: from a folder and from an API alike."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.endpoints import artifact_routes
from orchestration.endpoints.bodies import BodyLimit
from orchestration.endpoints.problems import explain_errors
from orchestration.endpoints.security import identify
from utils.errors import ConfigError
from utils.persistence import http_artifact_store
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.errors import (
    ArtifactCorruptError,
    ArtifactMissingError,
    ArtifactsUnreachableError,
)
from utils.persistence.http_artifact_store import (
    DELAYS_SECONDS,
    HttpArtifactStore,
    open_artifact_store,
)

URL = "http://127.0.0.1:8321"
SHA256 = hashlib.sha256(b"policy").hexdigest()


class AppTransport(httpx.BaseTransport):
    """Asks the API without a socket; what has no length comes in pieces."""

    def __init__(self, folder):
        api = FastAPI()
        api.state.parts = SimpleNamespace(artifacts=folder)
        api.include_router(artifact_routes.router)
        api.dependency_overrides[identify] = lambda: None  # has tests of its own
        explain_errors(api)
        self.inner = httpx.ASGITransport(BodyLimit(api), raise_app_exceptions=False)

    def handle_request(self, request):
        return asyncio.run(self.answer(request))

    async def answer(self, request):
        async def pieces():
            for piece in request.stream:
                yield piece

        whole = httpx.Request(
            request.method, request.url, headers=request.headers, content=pieces()
        )
        answer = await self.inner.handle_async_request(whole)
        return httpx.Response(
            answer.status_code, headers=answer.headers, content=await answer.aread()
        )


@pytest.fixture
def folder(tmp_path):
    """Where the bytes lie in the end."""
    return DirectoryArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def api(folder):
    return httpx.Client(transport=AppTransport(folder), base_url=URL)


@pytest.fixture
def remote(api, tmp_path):
    return HttpArtifactStore(
        URL, DirectoryArtifactStore(tmp_path / "cache"), transport=api._transport
    )


@pytest.fixture(params=["directory", "http"])
def store(request, folder, tmp_path):
    return folder if request.param == "directory" else request.getfixturevalue("remote")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(content=st.binary(max_size=200))
def test_bytes_come_back_under_their_hash(store, content):
    sha256 = store.put(content)
    assert sha256 == hashlib.sha256(content).hexdigest() == store.put(content)
    assert store.get(sha256) == content == store.path(sha256).read_bytes()
    assert store.holds(sha256)


@pytest.mark.parametrize("damage", [b"policy!", b"polic", b""])
def test_damaged_artifact_is_refused_and_mended_by_storing_again(store, folder, damage):
    sha256 = store.put(b"policy")
    folder.path(sha256).write_bytes(damage)
    with pytest.raises(ArtifactCorruptError, match=r"store (the artifact|it) again"):
        store.get(sha256)
    store.put(b"policy")
    assert store.get(sha256) == b"policy"


@pytest.mark.parametrize("sha256", ["0" * 64, "../../etc/passwd", "", "A" * 64])
def test_unknown_names_are_missing(store, sha256):
    assert not store.holds(sha256)
    with pytest.raises(ArtifactMissingError):
        store.get(sha256)
    with pytest.raises(ArtifactMissingError):
        store.path(sha256)


def files_in(tmp_path):
    return [path for path in tmp_path.rglob("*") if path.is_file()]


def fill_disk(monkeypatch):
    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)


def test_full_disk_leaves_nothing_behind(folder, tmp_path, monkeypatch):
    fill_disk(monkeypatch)
    with pytest.raises(OSError, match="No space"):
        folder.put(b"policy")
    assert files_in(tmp_path) == []


def test_full_disk_of_the_other_machine_is_told(remote, tmp_path, monkeypatch):
    fill_disk(monkeypatch)
    with pytest.raises(ArtifactsUnreachableError, match="No space left on device; free some space"):
        remote.put(b"policy")
    assert files_in(tmp_path) == []


# What only the API does


def test_bytes_with_another_hash_are_not_kept(api, tmp_path):
    answer = api.put(f"/v1/artifacts/{SHA256}", content=b"polity")
    assert answer.status_code == 422
    assert "send them again" in answer.json()["detail"]
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("content", [b"x" * 100, [b"x" * 60, b"x" * 40]], ids=["whole", "pieces"])
def test_too_many_bytes_are_refused_and_leave_nothing(api, tmp_path, monkeypatch, content):
    monkeypatch.setattr(artifact_routes, "LARGEST_ARTIFACT_BYTES", 99)
    content = content if isinstance(content, bytes) else iter(content)
    answer = api.put(f"/v1/artifacts/{SHA256}", content=content)
    assert answer.status_code == 413
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "A" * 64, "0" * 63, f"{SHA256}.tmp"])
def test_names_that_are_no_hash_are_refused(api, tmp_path, method, name):
    answer = api.request(method, f"/v1/artifacts/{name}")
    assert answer.status_code in {404, 422}
    assert files_in(tmp_path) == []


def test_large_artifacts_pass_and_other_large_bodies_do_not(api, remote):
    content = os.urandom(3 << 20)
    assert remote.get(remote.put(content)) == content
    assert api.post("/v1/jobs", content=content).status_code == 413


# What only the client does


class Wire(httpx.BaseTransport):
    """Gives prepared answers and writes down what was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def handle_request(self, request):
        self.asked.append((request.method, request.headers.get("authorization")))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, content = answer
        return httpx.Response(status, content=content, request=request)


def on_wire(tmp_path, *answers, token=None):
    waited = []
    wire = Wire(*answers)
    cache = DirectoryArtifactStore(tmp_path / "cache")
    store = HttpArtifactStore(URL, cache, transport=wire, sleep=waited.append, token=token)
    return store, wire, waited


def test_broken_transfers_begin_again(tmp_path):
    broken = httpx.ReadError("reset")
    store, wire, waited = on_wire(tmp_path, broken, (503, b""), (200, b"policy"))
    assert store.get(SHA256) == b"policy"
    assert waited == list(DELAYS_SECONDS[:2])
    assert store.get(SHA256) == b"policy"  # from the cache
    assert len(wire.asked) == 3


def test_an_api_that_is_away_is_named(tmp_path):
    away = [httpx.ConnectError("refused")] * (len(DELAYS_SECONDS) + 1)
    store, _, waited = on_wire(tmp_path, *away)
    with pytest.raises(ArtifactsUnreachableError, match=f"{URL} cannot be reached"):
        store.put(b"policy")
    assert waited == list(DELAYS_SECONDS)


def test_a_refusal_is_not_repeated(tmp_path):
    store, wire, waited = on_wire(tmp_path, (401, b"who are you"), token="secret")
    with pytest.raises(ArtifactsUnreachableError, match="401 Unauthorized: who are you"):
        store.get(SHA256)
    assert (waited, wire.asked) == ([], [("GET", "Bearer secret")])


def test_wrong_bytes_from_the_wire_are_not_used(tmp_path):
    store, _, _ = on_wire(tmp_path, (200, b"polity"))
    with pytest.raises(ArtifactCorruptError, match="store the artifact again"):
        store.get(SHA256)
    assert files_in(tmp_path) == []


def test_endless_answers_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(http_artifact_store, "LARGEST_ARTIFACT_BYTES", 5)
    store, _, _ = on_wire(tmp_path, (200, b"policy"))
    with pytest.raises(ArtifactCorruptError, match="more than 5 bytes"):
        store.get(SHA256)
    with pytest.raises(ConfigError, match="6 bytes is over 5"):
        store.put(b"policy")


def test_places_are_a_url_or_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("QUARTERMASTER_TOKEN", "secret")
    remote = open_artifact_store(URL, tmp_path)
    assert remote._client.headers["authorization"] == "Bearer secret"
    local = open_artifact_store(str(tmp_path / "a"), tmp_path)
    assert local.path(local.put(b"x")).is_relative_to(tmp_path / "a")
    with pytest.raises(ConfigError, match="http://HOST:PORT"):
        open_artifact_store("ftp://elsewhere", tmp_path)
