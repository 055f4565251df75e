"""The settings of a training run, as people and jobs give them; read without torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, get_args

from data.scenario import BankConfig
from rl.algorithms.capabilities import Algorithm
from rl.training.learning_settings import LearningSettings
from rl.training.world_settings import WorldSettings
from utils.config import check_types
from utils.errors import ConfigError

CUSTOM = "custom"
EPISODE_STEPS = {
    CUSTOM: 0,
    "resource_allocation": 72,
    "supply_chain": 100,
    "trading": 100,
    # Worlds of the catalogue, which a problem is made of by drawing scenarios:
    "capacity_planning": 60,
    "clark_scarf": 200,
    "cluster_scheduling": 400,
    "constrained_allocation": 100,
    "distributed_nodes": 1000,
    "distributed_nodes_deadlines": 1000,
    "execution": 5,
    "five_product": 1000,
    "fixed_order_cost": 200,
    "job_scheduling": 400,
    "market_making": 200,
    "multi_echelon": 30,
    "newsvendor": 1,
    "portfolio": 63,
    "serial_inventory": 30,
    "serial_inventory_lost_sales": 30,
    "serial_supply": 30,
    "service_agents": 72,
    "service_market": 72,
    "shared_services": 72,
    "trading_market": 252,
    "traffic_shares": 200,
    "workforce": 42,
}
"""Every problem by name, and the steps of its episodes; a user's own tells its steps itself."""
CollectionPlace = Literal["inline", "process", "ray"]
SHARDED: tuple[Algorithm, ...] = ("ppo", "mappo")
"""Algorithms whose experience can be collected in several parts."""
DEVICE = re.compile(r"(cpu|cuda|mps)(:\d+)?")
MOST_ENVS = 1_000_000
NO_DEVICE = "is no device; write cpu, cuda, cuda:1 or mps"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One run: what is trained, on what, for how long."""

    environment: str = "resource_allocation"
    """A problem of `EPISODE_STEPS`."""
    world: WorldSettings = field(default_factory=WorldSettings)
    """Its sizes, where they can be chosen."""
    algorithm: Algorithm = "apg"
    """Who learns; the problem says how, unless `settings` does."""
    settings: LearningSettings = field(default_factory=LearningSettings)
    num_agents: int = 4
    """Services, stages or orders; worlds whose number is fixed do not look at it."""
    total_episodes: int = 44_800
    """Summed over copies."""
    num_envs: int | None = None
    """Copies played at once; None takes as many as the problem's own settings."""
    device: str = "cpu"
    """Where worlds are played and networks learn: `cpu`, `cuda` or `cuda:1`; the artifact runs
    without one. Elsewhere the last digits are those of that device."""
    collection_shards: int = 1
    """Equal parts of the copies that collect at the same time; the result depends on their number,
    not on their place. More than 1 for ppo and mappo only."""
    collection_place: CollectionPlace = "inline"
    """Where shards run: `inline`, one after another; a `process` each; or actors of a `ray`
    cluster."""
    collection_devices: tuple[str, ...] = ()
    """Of each shard, such as `["cuda:0","cpu"]`; empty for the CPU everywhere. What they collect is
    learnt from on `device`."""
    eval_frequency: int = 4_480
    """Episodes between evaluations on validation scenarios; 0 evaluates at the end only."""
    eval_episodes: int | None = None
    """Only the first so many validation scenarios; None for all."""
    checkpoint_frequency: int = 1_280
    """Episodes between checkpoints; 0 saves at the end, and when asked to stop, only."""
    keep_last: int = 2
    """Newest checkpoints that stay, at least 2."""
    keep_best: int = 1
    """Checkpoints of the best evaluations that stay beside them."""
    early_stopping_patience: int = 0
    """Episodes without a certainly better evaluation after which training ends; 0 never ends."""
    max_hours: float | None = None
    """Wall time after which training ends, pauses not counted; None for no limit."""
    use_curriculum: bool = False
    """Begin with easier scenarios, where the problem has stages."""
    use_synthetic_data: bool = True
    """Mix synthetic scenarios into the real ones; without traces all are synthetic."""
    real_share: float = 0.8
    """Share of real scenarios in the mix."""
    synthetic_data_refresh_frequency: int | None = None
    """Episodes between new draws of the training scenarios; None as the problem says."""
    init_from: str | None = None
    """A run, or `agent@alias`, whose best policy this one begins with; None begins anew."""
    traces: str | None = None
    """Folder of the trace files; None looks where `data.traces.locate_traces` says."""
    tensorboard: bool = False
    """Also write event files for TensorBoard, to `tensorboard/` in the run's folder."""
    seed: int = 0
    experiment_name: str = "quartermaster"
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: A field is out of range, or of another type.
        """
        check_types(self)
        _check_name("environment", self.environment, tuple(EPISODE_STEPS))
        _check_name("algorithm", self.algorithm, get_args(Algorithm))
        counted = ("num_agents", "total_episodes", "num_envs", "eval_episodes")
        for name in (*counted, "collection_shards"):
            _check_least(name, getattr(self, name), 1)
        _check_least("synthetic_data_refresh_frequency", self.synthetic_data_refresh_frequency, 1)
        _check_least("keep_last", self.keep_last, 2)
        if self.num_envs is not None and self.num_envs > MOST_ENVS:
            raise ConfigError(f"num_envs={self.num_envs}: choose at most {MOST_ENVS:,}")
        counts = ("eval_frequency", "checkpoint_frequency", "early_stopping_patience", "seed")
        for name in (*counts, "keep_best"):
            _check_least(name, getattr(self, name), 0)
        if not 0 < self.real_share < 1:
            raise ConfigError(f"real_share={self.real_share}: choose a share between 0 and 1")
        if self.max_hours is not None and not 0 < self.max_hours < math.inf:
            raise ConfigError(f"max_hours={self.max_hours}: choose more than 0, or no limit")
        if self.early_stopping_patience and not self.eval_frequency:
            raise ConfigError("early_stopping_patience needs evaluations: set eval_frequency")
        for name in ("experiment_name", *(() if self.init_from is None else ("init_from",))):
            if not getattr(self, name).strip():
                raise ConfigError(f"{name} is empty: give it a name")
        if not DEVICE.fullmatch(self.device):
            raise ConfigError(f"device={self.device!r} {NO_DEVICE}")
        _check_collection(self)

    @property
    def total_env_steps(self) -> int:
        """Steps over all copies; the last update may pass it. 0 where only the problem knows."""
        chosen = self.world.episode_steps(self.environment)
        return self.total_episodes * (chosen or EPISODE_STEPS[self.environment])

    def bank_of(self, usual: BankConfig) -> BankConfig:
        """Return the sizes of the bank of training scenarios.

        Args:
            usual: As the problem has them.
        """
        if self.synthetic_data_refresh_frequency is None:
            return usual
        return BankConfig(
            num_episodes=usual.num_episodes,
            refresh_every_episodes=self.synthetic_data_refresh_frequency,
            max_bytes=usual.max_bytes,
        )


def _check_name(field_name: str, value: str, known: tuple[str, ...]) -> None:
    if value in known:
        return
    near = get_close_matches(str(value), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    raise ConfigError(f"{field_name}={value!r} is unknown: {hint}")


def _check_least(field_name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        wanted = "choose 0 or more" if least == 0 else f"choose at least {least}"
        raise ConfigError(f"{field_name}={value}: {wanted}")


def _check_collection(config: TrainingConfig) -> None:
    """Refuse shards that cannot be, as far as it can be told without the problem."""
    shards, place, devices = (
        config.collection_shards,
        config.collection_place,
        config.collection_devices,
    )
    _check_name("collection_place", place, get_args(CollectionPlace))
    if unknown := [one for one in devices if not DEVICE.fullmatch(one)]:
        raise ConfigError(f"collection_devices={list(devices)}: {unknown[0]!r} {NO_DEVICE}")
    if shards == 1:
        if place != "inline" or devices:
            name, value = (
                ("collection_devices", list(devices)) if devices else ("collection_place", place)
            )
            raise ConfigError(
                f"{name}={value}, but there is nothing to place: choose collection_shards of at "
                f"least 2, or leave {name} out"
            )
        return
    if config.algorithm not in SHARDED:
        raise ConfigError(
            f"collection_shards={shards}: algorithm={config.algorithm} collects in one piece; "
            f"choose collection_shards=1, or algorithm={' or '.join(SHARDED)}"
        )
    if devices and len(devices) != shards:
        raise ConfigError(
            f"collection_devices={list(devices)}: name one for each of the {shards} shards, or none"
        )
    if config.num_envs is not None:
        check_divisible(config.num_envs, shards)


def check_divisible(num_envs: int, shards: int) -> None:
    """Refuse copies that cannot be shared out evenly.

    Args:
        num_envs: Copies in all.
        shards: Among how many.

    Raises:
        ConfigError: A rest would be left.
    """
    if num_envs % shards:
        near = max(1, round(num_envs / shards)) * shards
        raise ConfigError(
            f"collection_shards={shards} cannot share num_envs={num_envs} evenly: choose "
            f"num_envs={near}, or another number of shards"
        )
