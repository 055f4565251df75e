"""kill -9 in the middle of promotions: the alias is old or new, and the history says which."""

from __future__ import annotations

import itertools
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import httpx
import pytest
from sqlalchemy import select

from tests.orchestration.house import AGENT, REQUEST, open_house
from tests.postgres import empty_tables
from utils.persistence.engine import open_database
from utils.persistence.jobs import event
from utils.persistence.registry import alias_history, model_alias

ROOT = Path(__file__).parents[2]
KILLS = 2
"""On each database; the slow test kills twenty times."""


async def make_state(var, database):
    async with open_house(var, versions=2, database=database):
        pass


async def read_state(var, database):
    place = database or var / "quartermaster.sqlite"
    opened = await open_database(place)
    async with opened.read() as connection:
        aliases = (await connection.execute(select(model_alias.c.version))).scalars().all()
        query = select(alias_history.c.version, alias_history.c.previous_version)
        moves = (await connection.execute(query.order_by(alias_history.c.seq))).all()
        told = select(event.c.payload).where(event.c.type == "model_promoted")
        events = (await connection.execute(told.order_by(event.c.seq))).scalars().all()
    await opened.aclose()
    return aliases, [tuple(move) for move in moves], [one["version"] for one in events]


def kill_once(var, database, generator):
    """Let a process promote for a random while, kill it, and return what it had acknowledged."""
    command = [sys.executable, "-m", "tests.orchestration.promoting_process"]
    process = subprocess.Popen(
        [*command, str(var), database or ""], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    url = re.search(r"http://\S+", process.stdout.readline())[0]
    answer = httpx.post(f"{url}/v1/agents/{AGENT}:invoke", json=REQUEST, timeout=60)
    assert answer.json()["version"] in {"1", "2"}
    time.sleep(generator.uniform(0, 0.4))  # where it dies is left to chance
    process.send_signal(signal.SIGKILL)
    lines, _ = process.communicate()
    moved = [line.split() for line in lines.splitlines() if line.startswith("moved")]
    return [int(version) for _, _, version in moved]


def check_kills(var, database, number):
    generator = random.Random(7)
    anyio.run(make_state, var, database)
    past = anyio.run(read_state, var, database)[1]
    total = 0
    for _ in range(number):
        acknowledged = kill_once(var, database, generator)
        aliases, moves, events = anyio.run(read_state, var, database)
        assert len(aliases) == 1  # never neither
        assert aliases[0] == moves[-1][0]
        assert events == [version for version, _ in moves]
        assert all(move[1] == former[0] for former, move in itertools.pairwise(moves))
        new = [version for version, _ in moves[len(past) :]]
        assert new[: len(acknowledged)] == acknowledged  # what was acknowledged is there
        assert len(new) - len(acknowledged) <= 1  # and at most the one that was under way
        total += len(new)
        past = moves
    return total


@pytest.mark.parametrize("kind", ["file", "server"])
def test_killed_while_it_promotes(kind, tmp_path, request):
    database = request.getfixturevalue("server_url") if kind == "server" else None
    if database:
        empty_tables(database)
    assert check_kills(tmp_path, database, KILLS) > KILLS


@pytest.mark.slow
def test_killed_twenty_times(tmp_path):
    assert check_kills(tmp_path, None, 20) > 20
