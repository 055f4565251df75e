"""From prices and learned weights to the artifact of a rule that places tasks; no torch here."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from rl.artifacts import ActionSpec, Layer, Normalizer, PolicyArtifact, PolicyCard
from rl.domains.cluster_value import FEATURES, ClusterPrices
from utils.config import to_json
from utils.errors import ConfigError

CLUSTER_PLACEMENT = "cluster_placement"
NODE_VALUE = "node_value"
"""The last layer gives the value of what is left of a node; a task goes where it falls least."""
HIGHEST_VALUE = 1e9


def make_placement_artifact(
    prices: ClusterPrices, weights: NDArray[np.floating], card: PolicyCard
) -> PolicyArtifact:
    """Make an artifact: one layer over the features of a node, with the prices as its world.

    Args:
        prices: Of the tasks to come.
        weights: `[feature]`, see `rl.domains.cluster_value.FEATURES`, in scores.
        card: What is known about it.

    Raises:
        ConfigError: There is not one weight per feature.
    """
    if weights.shape != (len(FEATURES),):
        raise ConfigError(f"give a weight to each of {', '.join(FEATURES)}, not {weights.shape}")
    size = len(FEATURES)
    return PolicyArtifact(
        layers=(Layer(weights.astype(np.float32)[:, None], np.zeros(1, np.float32)),),
        activation="relu",
        normalizer=Normalizer(np.zeros(size, np.float32), np.ones(size, np.float32), HIGHEST_VALUE),
        action=ActionSpec(
            kind="continuous",
            size=1,
            low=-HIGHEST_VALUE,
            high=HIGHEST_VALUE,
            meaning=NODE_VALUE,
        ),
        domain=CLUSTER_PLACEMENT,
        domain_config=json.dumps(to_json(prices), sort_keys=True),
        card=card,
    )
