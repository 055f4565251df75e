"""How each family of algorithms learns, as people and jobs give it; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from rl.algorithms.apg_config import APGConfig
from rl.algorithms.capabilities import Algorithm
from rl.algorithms.dqn_config import DQNConfig
from rl.algorithms.maddpg_config import MADDPGConfig
from rl.algorithms.ppo_config import PPOConfig
from rl.algorithms.qmix_config import QMIXConfig
from rl.algorithms.sac_config import SACConfig
from rl.algorithms.td3_config import TD3Config
from utils.errors import ConfigError

LearningConfig = (
    APGConfig | DQNConfig | MADDPGConfig | PPOConfig | QMIXConfig | SACConfig | TD3Config
)
ALGORITHMS: dict[type[LearningConfig], Algorithm] = {
    APGConfig: "apg", DQNConfig: "dqn", SACConfig: "sac", TD3Config: "td3",
}  # fmt: skip
"""Of the configurations that set up one algorithm only."""
FAMILIES: dict[Algorithm, str] = {"mappo": "ppo", "matd3": "maddpg", "vdn": "qmix"}
"""Of algorithms that are the second of a family."""


@dataclass(frozen=True, kw_only=True)
class LearningSettings:
    """One place for each family; an algorithm whose place is empty learns as its problem says."""

    apg: APGConfig | None = None
    ppo: PPOConfig | None = None
    """Of PPO and MAPPO."""
    dqn: DQNConfig | None = None
    sac: SACConfig | None = None
    td3: TD3Config | None = None
    maddpg: MADDPGConfig | None = None
    """Of MADDPG and MATD3."""
    qmix: QMIXConfig | None = None
    """Of QMIX and VDN."""

    def config_of(self, algorithm: Algorithm) -> LearningConfig | None:
        """Return how an algorithm is to learn, or None where nothing was said.

        Args:
            algorithm: Which; the second of a family changes its family's switch.

        Raises:
            ConfigError: It is the first of its family, and the settings are the second's.
        """
        configs: dict[Algorithm, LearningConfig | None] = {
            "apg": self.apg,
            "ppo": self.ppo,
            "mappo": self.ppo and replace(self.ppo, critic="central"),
            "dqn": self.dqn,
            "sac": self.sac,
            "td3": self.td3,
            "maddpg": self.maddpg,
            "matd3": self.maddpg and replace(self.maddpg, variant="matd3"),
            "qmix": self.qmix,
            "vdn": self.qmix and replace(self.qmix, mixer="vdn"),
        }
        if algorithm not in configs:
            raise ConfigError(f"no algorithm {algorithm!r}; there are {', '.join(configs)}")
        config = configs[algorithm]
        if config is not None and algorithm_of(config) != algorithm:
            meant = algorithm_of(config)
            raise ConfigError(f"algorithm={algorithm} with settings of {meant}: ask for {meant}")
        return config


def default_config(algorithm: Algorithm) -> LearningConfig:
    """Return the settings of an algorithm of which nothing more is known.

    Args:
        algorithm: Which.
    """
    every = LearningSettings(
        apg=APGConfig(),
        ppo=PPOConfig(),
        dqn=DQNConfig(),
        sac=SACConfig(),
        td3=TD3Config(),
        maddpg=MADDPGConfig(),
        qmix=QMIXConfig(),
    )
    return cast("LearningConfig", every.config_of(algorithm))


def family_of(algorithm: Algorithm) -> str:
    """Name the place in `LearningSettings` that an algorithm takes its settings from.

    Args:
        algorithm: Which.
    """
    return FAMILIES.get(algorithm, algorithm)


def algorithm_of(config: LearningConfig) -> Algorithm:
    """Name the algorithm that a configuration sets up.

    Args:
        config: Of any agent.
    """
    if isinstance(config, PPOConfig):
        return "mappo" if config.critic == "central" else "ppo"
    if isinstance(config, MADDPGConfig):
        return config.variant
    if isinstance(config, QMIXConfig):
        return config.mixer
    return ALGORITHMS[type(config)]
