"""The example of the page on delegation works as written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.orchestration.house import AGENT, REQUEST, open_house

PAGE = Path(__file__).resolve().parents[2] / "docs" / "orchestration" / "delegation.md"


@pytest.mark.anyio
async def test_the_example_runs(tmp_path, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    async with open_house(tmp_path, versions=3) as application:
        await names["main"](application.orchestrator, AGENT, REQUEST)
    printed = capsys.readouterr().out
    assert f"{AGENT}@3 answered 3" in printed
    assert "mean of resource_allocator 1 (policy)" in printed
    assert "price 3.6 2" in printed
