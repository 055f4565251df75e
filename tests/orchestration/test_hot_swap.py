"""Promotions under load: no request fails, and each answer names the version that made it."""

from __future__ import annotations

import json
from dataclasses import replace

import anyio
import httpx
import numpy as np
import pytest

from orchestration.endpoints.rest import ApiServer, make_api
from orchestration.serving import make_api_parts
from rl.artifacts import Layer
from tests.orchestration.house import AGENT, REQUEST, open_house
from tests.serving import make_artifact

pytestmark = pytest.mark.anyio
VERSIONS = 4
SWAPS = 6


def recognisable(number):
    """A policy whose decisions differ from those of other numbers: it leaves so much over."""
    artifact = make_artifact(0)
    *hidden, (weight, bias) = artifact.layers
    constant = np.full_like(bias, 0.05 * number)
    return replace(artifact, layers=(*hidden, Layer(np.zeros_like(weight), constant)))


@pytest.fixture
async def house(tmp_path):
    async with open_house(tmp_path) as application:
        registry = application.orchestrator.registry
        for number in range(1, VERSIONS + 1):
            await registry.register(recognisable(number).to_bytes())
        await application.orchestrator.promote(AGENT, 1)
        yield application


@pytest.fixture
async def leftovers(house):
    """What each version leaves over, by which its decisions are known."""
    return {
        str(version): (await house.orchestrator.invoke(AGENT, REQUEST, version=version)).leftover
        for version in range(1, VERSIONS + 1)
    }


async def swap_under_load(orchestrator, ask, *, callers, leftovers):
    """Ask from many sides while the champion changes; return how many answers there were."""
    answers, is_over = [], anyio.Event()

    async def call():
        while not is_over.is_set():
            decision = await ask()
            answers.append((decision["version"], decision["leftover"]))
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        for _ in range(callers):
            group.start_soon(call)
        for swap in range(SWAPS):
            await orchestrator.promote(AGENT, 1 + swap % VERSIONS, reason=f"swap {swap}")
            seen = len(answers)
            while len(answers) < seen + 2 * callers:  # all have met the new version
                await anyio.lowlevel.checkpoint()
        is_over.set()
    assert {version for version, _ in answers} == set(leftovers)
    for version, leftover in answers:
        assert leftover == leftovers[version]
    return len(answers)


async def test_in_process(house, leftovers):
    orchestrator = house.orchestrator

    async def ask():
        return (await orchestrator.invoke(AGENT, REQUEST)).model_dump()

    number = await swap_under_load(orchestrator, ask, callers=3, leftovers=leftovers)
    assert number >= SWAPS * 6


async def test_in_process_with_policies_in_threads(house, leftovers):
    orchestrator = house.orchestrator

    async def ask():
        return (await orchestrator.invoke(AGENT, REQUEST, deadline_seconds=60)).model_dump()

    await swap_under_load(orchestrator, ask, callers=3, leftovers=leftovers)


async def test_over_http(house, leftovers):
    server = ApiServer(make_api(make_api_parts(house)), host="127.0.0.1", port=0)
    body = json.dumps(REQUEST).encode()
    headers = {"content-type": "application/json"}
    async with (
        anyio.create_task_group() as group,
        httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as client,
    ):
        group.start_soon(server.run)

        async def ask():
            answer = await client.post(f"/v1/agents/{AGENT}:invoke", content=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        await swap_under_load(house.orchestrator, ask, callers=3, leftovers=leftovers)
        group.cancel_scope.cancel()
