"""An algorithm of your own: the cross-entropy method, trained by our trainer in the water tank.

Every copy plays with its own weights, the best make the next mean. One sees it pass the rule.
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

COPIES, ELITES, STEPS = 128, 16, 20 * 128 * DAYS


class CrossEntropy(nn.Module):
    """An `OffPolicyAgent` and a `Policy`: a weight for each observed number, and a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(train_frequency=DAYS)
        for name in ("mean", "weights", "returns", "round"):
            self.register_buffer(name, None)
        self.mean, self.round = torch.zeros(SHAPE.state_size + 1), torch.tensor(0)
        self._draw(torch.full_like(self.mean, 2.0))

    def _draw(self, deviation: Tensor) -> None:
        chance = torch.Generator().manual_seed(derive_seed(0, "round", int(self.round)))
        self.weights = self.mean + deviation * torch.randn(COPIES, len(self.mean), generator=chance)
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
    world, agent = WaterTank(ScenarioBank(VILLAGE, BankConfig(), 0), COPIES, 0), CrossEntropy()
    score = Validation(PROBLEM.contest, PROBLEM.validation, [give_all], bound=None)
    print(f"give_all {score.expert:6.2f}\nbefore   {score(agent)['kpi']:6.2f}")
    Trainer(TrainerConfig(total_env_steps=STEPS), world, agent, NullRecorder()).train()
    print(f"after    {score(agent)['kpi']:6.2f}")


if __name__ == "__main__":
    main()
