"""Who may leave and take artifacts."""

from __future__ import annotations

import hashlib

import pytest

from tests.orchestration.doors import open_doors

pytestmark = pytest.mark.anyio
PATH = f"/v1/artifacts/{hashlib.sha256(b'policy').hexdigest()}"


async def test_only_trainers_leave_and_take_artifacts(tmp_path):
    async with open_doors(tmp_path) as doors:
        tokens = {one: await doors.make_token(one, one) for one in ("invoke", "train")}
        for token, status in ((None, 401), ("wrong", 401), (tokens["invoke"], 403)):
            async with doors.caller(token) as client:
                assert (await client.put(PATH, content=b"policy")).status_code == status
                assert (await client.head(PATH)).status_code == status
                assert (await client.get(PATH)).status_code == status
        assert doors.parts.artifacts.list_hashes() == []
        async with doors.caller(tokens["train"]) as client:
            assert (await client.head(PATH)).status_code == 404
            assert (await client.put(PATH, content=b"policy")).status_code == 201
            assert (await client.head(PATH)).headers["content-length"] == "6"
            assert (await client.get(PATH)).content == b"policy"
