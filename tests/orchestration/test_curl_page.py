"""docs/agents/curl.md against a server: every command does what the page says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import anyio
import pytest

from tests.orchestration.served import serve

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]
PAGE = Path(__file__).parents[2] / "docs" / "agents" / "curl.md"
SAID = (
    *('"name":"trading"', '"fallback_expert"', '"decided_by":"policy"'),
    *('"request_id":"order-1734"', '},{"agent"', '"field": "services"'),
    *('"tools":[', '"skills":[', '"ROLE_AGENT"', '"live"', '"ready"', "agent_requests_total{"),
)


async def test_every_command_of_the_page_works(tmp_path):
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 7
    async with serve(tmp_path / "var", versions="all") as doors:
        script = "set -euo pipefail\n" + "\n".join(blocks)
        script = script.replace("http://127.0.0.1:8321", doors.url)
        done = await anyio.run_process(["bash", "-c", script], cwd=tmp_path, check=False)
    said = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode() + said[-2000:]
    where = 0
    for words in SAID:
        assert words in said[where:], (words, said[where : where + 2000])
        where = said.index(words, where)
