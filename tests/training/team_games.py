"""Games of two agents whose best play is known."""

from __future__ import annotations

import torch

from rl.environments.base_environment import ActionSpec
from tests.training.worlds import World


class Messages(World):
    """One knows the target, the other must hit it; between them is a message of one number.

    First step: the speaker, who sees the target, says a number in [-1, 1]. Second step: the
    listener, who sees that number only, moves. Both lose the squared distance between move and
    target, and the episode terminates; the best return is 0, silence earns the variance -0.213.
    """

    def __init__(self, num_envs=32):
        action = ActionSpec(kind="continuous", size=1, low=-1.0, high=1.0)
        super().__init__(num_envs=num_envs, num_agents=2, observation_size=2, action=action)
        self.generator = torch.Generator()

    def reset(self, seed=None):
        if seed is not None:
            self.generator.manual_seed(seed)
        self.begin()
        return self.record(self.observation())

    def begin(self):
        self.target = 1.6 * torch.rand(self.num_envs, generator=self.generator) - 0.8
        self.message = torch.zeros(self.num_envs)
        self.is_second = False

    def observation(self):
        time = torch.full((self.num_envs,), float(self.is_second))
        seen = torch.stack((self.target, self.message), -1)
        return torch.stack((seen, time.unsqueeze(-1).expand(-1, 2)), -1)

    def step(self, action):
        action = action.squeeze(-1)
        if not self.is_second:
            self.message, self.is_second = action[:, 0].clone(), True
            return self.record(self.observation())
        final = self.observation()
        miss = (action[:, 1] - self.target).square()
        self.begin()
        over = torch.ones(self.num_envs, dtype=torch.bool)
        reward = -miss.unsqueeze(-1).expand(-1, 2)
        return self.record(self.observation(), reward, final=final, terminated=over)


class PayoffTables(World):
    """One choice each, paid by one of two tables that both see; the fourth choice is masked.

    The best pair earns 5 in either table, another pair of the diagonal 2 or 1, most pairs nothing.
    """

    PAYOFF = torch.tensor(
        [
            [[5.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]],
            [[0.0, 0.0, 1.0], [0.0, 2.0, 0.0], [5.0, 0.0, 0.0]],
        ]
    )

    def __init__(self, num_envs=32):
        action = ActionSpec(kind="discrete", size=4)
        super().__init__(num_envs=num_envs, num_agents=2, observation_size=2, action=action)
        self.generator = torch.Generator()
        self.mask = torch.tensor([True, True, True, False]).expand(num_envs, 2, 4)

    def reset(self, seed=None):
        if seed is not None:
            self.generator.manual_seed(seed)
        self.begin()
        return self.record(self.observation(), mask=self.mask)

    def begin(self):
        self.table = torch.randint(2, (self.num_envs,), generator=self.generator)

    def observation(self):
        table = torch.nn.functional.one_hot(self.table, 2).float()
        return table.unsqueeze(1).repeat(1, 2, 1)

    def step(self, action):
        paid = self.PAYOFF[self.table, action[:, 0], action[:, 1]]
        final = self.observation()
        self.begin()
        over = torch.ones(self.num_envs, dtype=torch.bool)
        reward = paid.unsqueeze(-1).expand(-1, 2)
        return self.record(self.observation(), reward, final=final, mask=self.mask, terminated=over)
