"""Whether a policy takes over: the rules, and what they are given."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from rl.training.promotion import Evidence, Interval, Rival, decide_promotion, why_keep
from tests.serving import make_artifact
from utils.config import to_json
from utils.errors import ConfigError
from utils.persistence.artifact_store import DirectoryArtifactStore
from utils.persistence.errors import ArtifactCorruptError, ArtifactMissingError

ALONE = {"var": None, "artifacts": None}
BETTER = Interval(mean=2.0, low=0.5, high=3.5)
EXPERT = Rival(name="twap", difference=BETTER, violation=0.0)
CHAMPION = Rival(name="version 3", version=3, sha256="b" * 64, difference=BETTER, violation=1.0)
GOOD = Evidence(
    agent="trading",
    sha256="a" * 64,
    data="held-out",
    data_sha256="d" * 64,
    episodes=80,
    violation=0.0,
    expert=EXPERT,
    champion=CHAMPION,
)


def against(rival, low, mean=0.1, high=9.0):
    return replace(rival, difference=Interval(mean=mean, low=low, high=high))


def test_better_than_both_takes_over_and_so_does_the_first_one():
    assert why_keep(GOOD) == []
    assert why_keep(replace(GOOD, champion=None)) == []


@pytest.mark.parametrize("low", [0.0, -0.1, float("nan")])
def test_an_interval_that_touches_zero_keeps_the_champion(low):
    (reason,) = why_keep(replace(GOOD, champion=against(CHAMPION, low)))
    assert "champion version 3" in reason
    (reason,) = why_keep(replace(GOOD, expert=against(EXPERT, low)))
    assert "expert twap" in reason
    worse = replace(GOOD, champion=against(CHAMPION, low), expert=against(EXPERT, low))
    assert len(why_keep(worse)) == 2


def test_who_was_not_compared_is_not_beaten():
    (reason,) = why_keep(replace(GOOD, expert=replace(EXPERT, difference=None)))
    assert "not compared" in reason


def test_limits_that_the_expert_keeps_are_kept():
    breaking = replace(GOOD, violation=0.5)
    (reason,) = why_keep(breaking)
    assert "breaks limits by 0.5 per episode, 0 is allowed" in reason
    assert why_keep(breaking, most_violation=0.5) == []
    assert why_keep(replace(breaking, violation=float("nan")), most_violation=1.0) != []
    # In a world where the expert breaks some too, only a stated bound binds.
    loose = replace(breaking, expert=replace(EXPERT, violation=0.1))
    assert why_keep(loose) == []
    assert why_keep(loose, most_violation=0.2) != []


def decide(tmp_path, evidence, **spec):
    spec = {
        "evaluation": "judge",
        "alias": "champion",
        "most_violation": None,
        "artifact_root": str(tmp_path),
        **spec,
    }
    inputs = {"judge": {"evidence": to_json(evidence)}}
    return decide_promotion(spec, SimpleNamespace(inputs=inputs, **ALONE))


def test_the_verdict_names_whom_it_was_judged_against(tmp_path):
    sha256 = DirectoryArtifactStore(tmp_path).put(make_artifact().to_bytes())
    verdict = decide(tmp_path, replace(GOOD, sha256=sha256))
    assert (verdict["promote"], verdict["reasons"]) == (True, [])
    assert (verdict["agent"], verdict["judged_against"]) == ("trading", 3)
    assert "80 episodes of held-out" in verdict["because"]
    kept = decide(tmp_path, replace(GOOD, champion=against(CHAMPION, -1)))
    assert not kept["promote"]
    assert kept["reasons"]


def test_damaged_or_absent_policies_are_never_promoted(tmp_path):
    with pytest.raises(ArtifactMissingError):
        decide(tmp_path, GOOD)
    store = DirectoryArtifactStore(tmp_path)
    sha256 = store.put(make_artifact().to_bytes())
    store.path(sha256).write_bytes(b"cut")
    with pytest.raises(ArtifactCorruptError):
        decide(tmp_path, replace(GOOD, sha256=sha256))


def test_without_evidence_nothing_is_decided(tmp_path):
    with pytest.raises(ConfigError, match="no evidence"):
        decide(tmp_path, GOOD, evaluation="other")
