"""Random streams of steps, and a slow replay that keeps lists of episodes, to compare with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from rl.algorithms.replay_buffer import Step


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What a random world emits; the first number of an observation is unique."""

    num_envs: int = 2
    num_agents: int = 2
    discrete: bool = True
    state_size: int = 1
    end_probability: float = 0.3
    leave_probability: float = 0.0
    seed: int = 0

    def steps(self, count: int) -> list[Step]:
        """Return consecutive steps."""
        rng = np.random.default_rng(self.seed)
        serial = iter(range(10**6))

        def seen():
            number = torch.tensor([[next(serial)] * self.num_agents for _ in range(self.num_envs)])
            agent = torch.arange(self.num_agents).expand(self.num_envs, -1) / 10
            mask = torch.tensor(rng.random((self.num_envs, self.num_agents, 3)) < 0.7)
            mask[..., 0] = True
            state = number[:, :1].float().expand(-1, self.state_size) * 1.0
            return torch.stack([number + agent, -number - agent], -1), mask, state

        observation, mask, state = seen()
        alive = torch.ones(self.num_envs, self.num_agents, dtype=torch.bool)
        steps = []
        for _ in range(count):
            draw = torch.tensor(rng.random(self.num_envs))
            terminated = draw < self.end_probability / 2
            truncated = (draw > 1 - self.end_probability / 2) & ~terminated
            ended = terminated | truncated
            following, next_mask, next_state = seen()
            final, _, final_state = seen()
            stays = torch.tensor(
                rng.random((self.num_envs, self.num_agents)) >= self.leave_probability
            )
            next_alive = torch.where(ended[:, None], True, alive & stays)
            shape = (self.num_envs, self.num_agents)
            action = (
                torch.tensor(rng.integers(0, 3, shape))
                if self.discrete
                else torch.tensor(rng.normal(size=(*shape, 3)), dtype=torch.float32)
            )
            steps.append(
                Step(
                    observation=observation,
                    action_mask=mask,
                    alive=alive,
                    action=action,
                    reward=torch.tensor(rng.integers(-4, 5, shape), dtype=torch.float32) * alive,
                    terminated=terminated,
                    truncated=truncated,
                    next_observation=following,
                    next_action_mask=next_mask,
                    next_alive=next_alive,
                    final_observation=torch.where(ended[:, None, None], final, following),
                    state=state,
                    next_state=next_state,
                    final_state=torch.where(ended[:, None], final_state, next_state),
                )
            )
            observation, mask, state, alive = following, next_mask, next_state, next_alive
        return steps


@dataclass
class SlowReplay:
    """Keeps every step of every copy as an entry of a list and walks it in Python."""

    rows: int
    gamma: float
    n_step: int
    history: list[list[Step]] = field(default_factory=list)

    def expected(self, steps: list[Step], env: int, time: int, agent: int) -> dict[str, object]:
        """Return the transition that begins with step `time` of a copy, for one agent."""
        reward, discount, now = 0.0, 1.0, time
        while True:
            step = steps[now]
            reward += discount * float(step.reward[env, agent])
            discount *= self.gamma
            ended = bool(step.terminated[env] | step.truncated[env])
            left = not ended and not bool(step.next_alive[env, agent])
            dead = not bool(step.alive[env, agent]) or left or bool(step.terminated[env])
            if ended or now == len(steps) - 1 or now - time == self.n_step - 1:
                break
            if dead:
                return {"reward": reward, "discount": 0.0}
            now += 1
        return {
            "reward": reward,
            "discount": 0.0 if dead else discount,
            "next_observation": step.final_observation[env, agent],
            "next_action_mask": (step.action_mask if ended else step.next_action_mask)[env, agent],
            "next_state": step.final_state[env],
        }
