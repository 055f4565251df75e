"""The three demos: what each trains, with how many agents, for how long."""

from __future__ import annotations

from dataclasses import dataclass

from rl.training.training_config import TrainingConfig

EVALUATIONS = 10
"""Looks at the validation scenarios during training."""
CHECKPOINTS = 30


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What one demo trains unless it is told otherwise."""

    about: str
    """With the number of agents in the place of {}."""
    agents: str
    """What the agents are."""
    num_agents: int
    episodes: int
    real_share: float = 0.8
    use_curriculum: bool = True


DEMOS = {
    "trading": Demo(
        about="{} desks sell an order each: who pays the least for impact and risk?",
        agents="desks, each with an order",
        num_agents=4,
        episodes=2_000,
    ),
    "supply_chain": Demo(
        about="A retail chain of {} stages: who orders best?",
        agents="stages that order",
        num_agents=6,
        episodes=3_000,
        real_share=0.5,
    ),
    "resource_allocation": Demo(
        about="{} services share capacities that sometimes fail: who splits them best?",
        agents="services that share capacities",
        num_agents=4,
        episodes=TrainingConfig().total_episodes,
        use_curriculum=False,
    ),
}
"""By the name of the problem."""


def demo_config(
    name: str,
    *,
    num_agents: int | None = None,
    episodes: int | None = None,
    use_curriculum: bool | None = None,
    seed: int = 0,
) -> TrainingConfig:
    """Return the settings of a demo.

    Args:
        name: In `DEMOS`.
        num_agents: None for the demo's own.
        episodes: None for the demo's own.
        use_curriculum: None for the demo's own.
        seed: The only source of chance.

    Raises:
        ConfigError: A number is out of range.
    """
    demo = DEMOS[name]
    length = demo.episodes if episodes is None else episodes
    return TrainingConfig(
        environment=name,
        num_agents=demo.num_agents if num_agents is None else num_agents,
        total_episodes=length,
        eval_frequency=max(1, length // EVALUATIONS),
        checkpoint_frequency=max(1, length // CHECKPOINTS),
        use_curriculum=demo.use_curriculum if use_curriculum is None else use_curriculum,
        real_share=demo.real_share,
        seed=seed,
        experiment_name=name,
    )
