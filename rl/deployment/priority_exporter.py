"""From learned weights to the artifact of a rule that scores every choice alike; no torch here."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from rl.artifacts import ActionSpec, Layer, Normalizer, PolicyArtifact, PolicyCard
from rl.deployment.view_exporter import ViewWorldConfig
from rl.domains.job_priority import FEATURES
from rl.domains.view_worlds import VIEW_WORLDS
from utils.config import to_json
from utils.errors import ConfigError

JOB_SCHEDULING = "job_scheduling"
LARGEST_FEATURE = 10.0
"""Features are cut to so much; in the world of the preset none comes near."""


def make_priority_artifact(
    weights: NDArray[np.floating], config: ViewWorldConfig, card: PolicyCard
) -> PolicyArtifact:
    """Make an artifact: one layer over the features of a choice.

    Args:
        weights: `[feature]`, see `rl.domains.job_priority.FEATURES`.
        config: The world's config and the shapes of its view.
        card: What is known about it.

    Raises:
        ConfigError: There is not one finite weight per feature.
    """
    if weights.shape != (len(FEATURES),) or not np.isfinite(weights).all():
        raise ConfigError(
            f"give one finite weight to each of {', '.join(FEATURES)}, not {weights.shape}"
        )
    size = len(FEATURES)
    return PolicyArtifact(
        layers=(Layer(weights.astype(np.float32)[:, None], np.zeros(1, np.float32)),),
        activation="relu",
        normalizer=Normalizer(
            np.zeros(size, np.float32), np.ones(size, np.float32), LARGEST_FEATURE
        ),
        action=ActionSpec(kind="discrete", size=1, meaning=VIEW_WORLDS[JOB_SCHEDULING].decision),
        domain=JOB_SCHEDULING,
        domain_config=json.dumps(to_json(config), sort_keys=True),
        card=card,
    )
