"""A short storm each time; with `QUARTERMASTER_CHAOS_SECONDS` (see `make chaos`) a long one."""

from __future__ import annotations

import os

import pytest

from tests.chaos.plan import Storm
from tests.chaos.storm import run_storm
from tests.postgres import missing

pytestmark = pytest.mark.anyio
FULL_SECONDS = float(os.environ.get("QUARTERMASTER_CHAOS_SECONDS", "0"))
SEED = int(os.environ.get("QUARTERMASTER_CHAOS_SEED", "1"))


@pytest.fixture
def anyio_backend():
    return "asyncio"


def summary(done, findings):
    """What pytest shows where the storm did harm."""
    return "\n".join([str(done), findings.table(), *findings.faults, *findings.duplicates])


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_a_storm_loses_and_doubles_nothing(tmp_path, database):
    if database == "postgres" and (missing() or not FULL_SECONDS):
        pytest.skip(missing() or "only in the long run (make chaos)")
    if FULL_SECONDS:
        jobs = round(2000 * FULL_SECONDS / 180)
        storm = Storm(seconds=FULL_SECONDS, jobs=jobs, database=database, seed=SEED)
    else:
        storm = Storm(seconds=15, jobs=80, workers=3, seed=SEED)
    done, findings = await run_storm(storm, tmp_path)
    print(storm, summary(done, findings), sep="\n")  # noqa: T201  for the log
    assert not findings.faults, summary(done, findings)
    assert not findings.duplicates, summary(done, findings)
    assert done["kill worker"], "nobody was killed"
    assert done["freeze worker"], "nobody was frozen"


@pytest.mark.slow
async def test_negative_control_without_fences_effects_are_doubled(tmp_path):
    seconds = min(FULL_SECONDS, 60) or 9
    storm = Storm(
        seconds=seconds,
        jobs=round(9 * seconds),
        workers=3,
        seed=SEED if FULL_SECONDS else 4,  # whose first blows freeze workers
        fault_rate=0.02 if FULL_SECONDS else 0.1,
        without_fence=True,
    )
    done, findings = await run_storm(storm, tmp_path)
    print(storm, summary(done, findings), sep="\n")  # noqa: T201  for the log
    assert findings.duplicates, "the storm is too mild to prove anything"
