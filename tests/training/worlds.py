"""Tiny batched environments with known answers."""

from __future__ import annotations

import torch

from rl.environments.base_environment import ActionSpec, AgentGroup, StepRecord


class World:
    """Copies of a world without content; subclasses say what happens."""

    def __init__(self, *, num_envs, num_agents, observation_size, action):
        self.num_envs = num_envs
        self.num_agents = num_agents
        self.agent_ids = tuple(f"agent_{index}" for index in range(num_agents))
        self.observation_size = observation_size
        self.groups = (
            AgentGroup(
                name="agent",
                members=tuple(range(num_agents)),
                observation_size=observation_size,
                action=action,
            ),
        )
        self.action_size = action.size
        self.state_size = observation_size
        self.num_costs = 0
        self.device = torch.device("cpu")

    def record(self, observation, reward=None, *, final=None, alive=None, mask=None, **flags):
        rows = (self.num_envs, self.num_agents)
        nobody = torch.zeros(self.num_envs, dtype=torch.bool)
        return StepRecord(
            observation=observation,
            action_mask=torch.ones(*rows, self.action_size, dtype=torch.bool)
            if mask is None
            else mask,
            agent_alive=torch.ones(rows, dtype=torch.bool) if alive is None else alive,
            reward=torch.zeros(rows) if reward is None else reward,
            cost=torch.zeros(*rows, 0),
            terminated=flags.get("terminated", nobody),
            truncated=flags.get("truncated", nobody),
            final_observation=observation if final is None else final,
            global_state=observation[:, 0],
            final_global_state=observation[:, 0],
            metrics={"load": torch.arange(self.num_envs).float()},
        )


class PointWorld(World):
    """Points on a line pushed by actions and chance; far off terminates, 9 steps truncate.

    The second agent of every copy is absent in the first three steps of each episode.
    """

    def __init__(self, num_envs=4):
        super().__init__(
            num_envs=num_envs,
            num_agents=2,
            observation_size=3,
            action=ActionSpec(kind="continuous", size=2),
        )
        self.generator = torch.Generator()

    def reset(self, seed=None):
        if seed is not None:
            self.generator.manual_seed(seed)
        self.position = torch.randn(self.num_envs, 2, generator=self.generator)
        self.time = torch.arange(self.num_envs) % 9
        return self.look()

    def step(self, action):
        noise = torch.randn(self.num_envs, 2, generator=self.generator)
        self.position = self.position + action.clamp(0, 1).sum(-1) - 1 + 0.3 * noise
        self.time = self.time + 1
        final = self.observation()
        reward = -self.position.abs()
        terminated = self.position.abs().amax(-1) > 4
        truncated = self.time >= 9
        ended = terminated | truncated
        fresh = torch.randn(self.num_envs, 2, generator=self.generator)
        self.position = torch.where(ended.unsqueeze(-1), fresh, self.position)
        self.time = torch.where(ended, 0, self.time)
        return self.look(reward, final=final, terminated=terminated, truncated=truncated)

    def look(self, reward=None, **flags):
        alive = torch.stack((torch.ones_like(self.time, dtype=torch.bool), self.time >= 3), -1)
        mask = torch.ones(self.num_envs, 2, 2, dtype=torch.bool)
        mask[:, 1, 1] = False
        return self.record(self.observation(), reward, alive=alive, mask=mask, **flags)

    def observation(self):
        time = (self.time / 9).unsqueeze(-1).expand(-1, 2)
        return torch.stack((self.position, self.position.flip(-1), time), -1)

    def state_dict(self):
        return {
            "position": self.position.clone(),
            "time": self.time.clone(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state):
        self.position, self.time = state["position"].clone(), state["time"].clone()
        self.generator.set_state(state["generator"])


class ConstantWorld(World):
    """Reward 1 for ever, looked at in pieces of 5 steps that are truncated or terminated."""

    def __init__(self, *, ending):
        super().__init__(
            num_envs=4,
            num_agents=1,
            observation_size=1,
            action=ActionSpec(kind="discrete", size=2),
        )
        self.ending = ending
        self.time = 0

    def reset(self, seed=None):
        self.time = 0
        return self.record(torch.ones(4, 1, 1))

    def step(self, action):
        self.time += 1
        ended = torch.full((4,), self.time % 5 == 0)
        return self.record(torch.ones(4, 1, 1), torch.ones(4, 1), **{self.ending: ended})

    def state_dict(self):
        return {"time": torch.tensor(self.time)}

    def load_state_dict(self, state):
        self.time = int(state["time"])


class TargetWorld(World):
    """One-step episodes: reward -(action - target)^2 over the dimensions in use.

    Observation: the target. The last dimension is masked, and pays a fortune to whoever learns it.
    """

    def __init__(self, *, num_envs=64):
        super().__init__(
            num_envs=num_envs,
            num_agents=1,
            observation_size=1,
            action=ActionSpec(kind="continuous", size=2),
        )
        self.generator = torch.Generator()
        self.mask = torch.tensor([True, False]).expand(num_envs, 1, 2)

    def reset(self, seed=None):
        if seed is not None:
            self.generator.manual_seed(seed)
        self.target = torch.rand(self.num_envs, 1, 1, generator=self.generator)
        return self.record(self.target, mask=self.mask)

    def step(self, action):
        reward = -(action[..., 0] - self.target[..., 0]).square()
        final = self.target
        self.target = torch.rand(self.num_envs, 1, 1, generator=self.generator)
        over = torch.ones(self.num_envs, dtype=torch.bool)
        return self.record(self.target, reward, final=final, mask=self.mask, terminated=over)

    def state_dict(self):
        return {"target": self.target.clone(), "generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.target = state["target"].clone()
        self.generator.set_state(state["generator"])
