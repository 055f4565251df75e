"""The commands of versions: canary, gate, promotion, rollback."""

from __future__ import annotations

import json

import anyio
import pytest
from typer.testing import CliRunner

from orchestration.cli import commands
from tests.orchestration.house import AGENT, open_house

pytestmark = pytest.mark.usefixtures("logs_as_before")


@pytest.fixture
def shell(tmp_path):
    async def make():
        async with open_house(tmp_path, versions=2):
            pass

    anyio.run(make)

    def call(*words):
        return CliRunner().invoke(commands.cli, ["--var", str(tmp_path), *words])

    return call


def test_a_version_goes_its_way(shell):
    started = shell("canary", AGENT, "--share", "0.25", "--version", "2", "--window", "50")
    assert started.stdout == f"{AGENT}: version 2 on 25.0%, running\n"
    plan = json.loads(shell("canary", AGENT, "--json").stdout)
    assert (plan["state"], plan["limits"]["window"]) == ("running", 50)
    stopped = shell("canary", AGENT, "--stop", "--reason", "seen enough")
    assert stopped.stdout == f"{AGENT}: version 2 on 25.0%, off: seen enough\n"
    refused = shell("promote-challenger", AGENT)
    assert refused.exit_code == 2
    assert "version 2 was never judged" in refused.stderr
    forced = shell("promote-challenger", AGENT, "--force", "--reason", "a drill")
    assert forced.stdout == f"{AGENT}: champion is version 2 now.\n"
    said = shell("gate", AGENT).stdout
    assert "refused, forced" in said
    assert "a drill" in said
    assert [one["version"] for one in json.loads(shell("gate", AGENT, "--json").stdout)] == [2, 2]
    back = shell("rollback", AGENT, "--reason", "end of the drill")
    assert back.stdout == f"{AGENT}: champion is version 1 again.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("canary", AGENT), "never had a canary"),
        (("canary", AGENT, "--share", "1.5"), "choose 0 to 1"),
        (("canary", AGENT, "--share", "0.1"), "no challenger"),
        (("canary", AGENT, "--share", "0.1", "--version", "9"), "no version 9"),
        (("canary", AGENT, "--share", "0.1", "--stop"), "give one of them"),
        (("canary", AGENT, "--version", "2"), "give --share too"),
        (("canary", AGENT, "--share", "0.1", "--fewest", "0"), "fewest=0"),
        (("canary", "nobody", "--share", "0.1"), "no agent 'nobody'"),
        (("promote-challenger", AGENT), "no challenger"),
        (("promote-challenger", AGENT, "--force"), "wants a --reason"),
        (("rollback", AGENT), "none before"),
        (("rollback", "nobody"), "no agent 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(shell, words, said):
    result = shell(*words)
    assert result.exit_code == 2
    assert said in result.stderr
