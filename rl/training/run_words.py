"""The words of the scripts' command lines, on top of the presets in configs/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rl.training.run_settings import ALGORITHMS, ENVIRONMENTS, make_config
from rl.training.settling import settle
from rl.training.training_config import TrainingConfig
from utils.overrides import Presets, compose_words

PRESETS: Final = Presets(
    folder=Path(__file__).parents[2] / "configs",
    primary="train",
    names={"env": ENVIRONMENTS, "algorithm": ALGORITHMS},
)


def read_words(words: Sequence[str]) -> TrainingConfig:
    """Return the configuration that words describe, on top of configs/train.yaml.

    Args:
        words: `group=option` and `name=value`, without sweeps.

    Raises:
        ConfigError: A word is unknown or does not fit.
    """
    said = compose_words(PRESETS, words)
    return make_config(said.choices, said.values, settle)
