"""An algorithm of your own: the cross-entropy method, trained by our trainer in the water tank.

Every copy plays an episode with weights of its own, and the best of them make the next mean. One
sees it pass the rule `give_all`. Such an agent is saved and continued like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from data.scenario import BankConfig, ScenarioBank
from examples.custom_environment import PROBLEM, VILLAGE, give_all
from examples.water_tank import DAYS, SHAPE, WaterTank
from rl.algorithms.heads import ActionSample
from rl.algorithms.policy_state import TensorDict
from rl.algorithms.replay_buffer import Step
from rl.training.recorder import NullRecorder
from rl.training.trainer import Trainer, TrainerConfig
from rl.training.validation import Validation
from utils.seeding import derive_seed

COPIES, ELITES, ROUNDS = 128, 16, 20


class CrossEntropy(nn.Module):
    """An `OffPolicyAgent` and a `Policy`: a weight for each observed number, and a bias."""

    config = SimpleNamespace(train_frequency=DAYS)

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self.register_buffer("mean", torch.zeros(SHAPE.state_size + 1))
        self.register_buffer("weights", torch.zeros(COPIES, SHAPE.state_size + 1))
        self.register_buffer("returns", torch.zeros(COPIES))
        self.register_buffer("round", torch.tensor(0))
        self._draw(torch.full_like(self.mean, 2.0))

    def _draw(self, deviation: Tensor) -> None:
        chance = torch.Generator().manual_seed(derive_seed(self._seed, "round", int(self.round)))
        self.weights = self.mean + deviation * torch.randn(self.weights.shape, generator=chance)
        self.returns, self.round = torch.zeros(COPIES), self.round + 1

    def act(self, seen: Tensor, _: Tensor | None, *, deterministic: bool = False) -> ActionSample:
        """Act by the mean, or each copy by its own weights."""
        weights = self.mean if deterministic else self.weights[:, None]
        share = torch.sigmoid((seen * weights[..., :-1]).sum(-1) + weights[..., -1])
        return ActionSample(share[..., None], torch.zeros_like(share))

    def observe(self, step: Step) -> None:
        """Add up what the weights of each copy earn."""
        self.returns = self.returns + step.reward.sum(-1)

    def update(self, *, progress: float = 0.0, measure: bool = True) -> TensorDict:  # noqa: ARG002
        """Move to the best; called after `train_frequency` steps of every copy."""
        elites = self.weights[self.returns.topk(ELITES).indices]
        self.mean = elites.mean(0)
        self._draw(elites.std(0) + 0.02)
        return {"elite_spread": elites.std(0).mean()}

    def policy_state(self) -> TensorDict:
        """Return what acting needs; `nn.Module` has the states of learning."""
        return {"mean": self.mean.clone()}

    def load_policy_state(self, state: Mapping[str, Tensor]) -> None:
        """Act as a saved policy did."""
        self.mean = state["mean"].clone()


def main() -> None:
    """Train, and score before and after."""
    world, agent = WaterTank(ScenarioBank(VILLAGE, BankConfig(), 0), COPIES, 0), CrossEntropy(0)
    score = Validation(PROBLEM.contest, PROBLEM.validation, [give_all], bound=None)
    print(f"give_all {score.expert:6.2f}\nbefore   {score(agent)['kpi']:6.2f}")
    config = TrainerConfig(total_env_steps=ROUNDS * COPIES * DAYS)
    Trainer(config, world, agent, NullRecorder()).train()
    print(f"after    {score(agent)['kpi']:6.2f}")


if __name__ == "__main__":
    main()
