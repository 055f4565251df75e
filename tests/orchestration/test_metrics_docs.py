"""Every family that is exposed is explained, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestration.endpoints.metrics import JobMetrics
from orchestration.endpoints.store_metrics import StoreMetrics
from rl.monitoring.rollout_metrics import RolloutMetrics
from rl.monitoring.serving_metrics import ServingMetrics
from rl.monitoring.training_metrics import TrainingMetrics
from utils.clock import SystemClock
from utils.observability import make_registry
from utils.persistence.engine import open_database

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
OURS = ("rl_", "agent_", "job_", "quartermaster_")


@pytest.mark.anyio
async def test_the_page_lists_the_families_with_their_types(tmp_path):
    database = await open_database(tmp_path / "q.sqlite")
    registry = make_registry()
    TrainingMetrics(registry)
    ServingMetrics(registry)
    RolloutMetrics(registry)
    StoreMetrics(registry, database)
    metrics = JobMetrics(registry, database, SystemClock())
    await metrics.refresh()
    await database.aclose()
    exposed = {
        (family.name + ("_total" if family.type == "counter" else ""), family.type)
        for family in registry.collect()
        if family.name.startswith(OURS)
    }
    written = re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE.read_text(), flags=re.MULTILINE)
    assert len(written) == len(set(written))
    assert set(written) == exposed
