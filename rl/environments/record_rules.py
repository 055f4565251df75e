"""Rules that one step record must keep, each with its own message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

import torch
from torch import Tensor

from data.scenario import ScenarioError
from rl.environments.base_environment import BatchedEnvironment, StepRecord
from utils.errors import QuartermasterError

TERM_TOLERANCE = 1e-5
"""Reward terms may miss their sum by so much of their size: they are added in another order."""


class ConformanceError(QuartermasterError):
    """An environment breaks a rule; `rule` names it."""

    def __init__(self, rule: str, message: str) -> None:
        """Name the rule and say what was seen.

        Args:
            rule: Its name.
            message: What was seen, and what is wanted.
        """
        super().__init__(f"{rule}: {message}")
        self.rule = rule


def check_fields(env: BatchedEnvironment, record: StepRecord) -> None:
    """Shapes, kinds and places of all tensors, and that their numbers are finite.

    Args:
        env: The environment.
        record: Any record of it.

    Raises:
        ConformanceError: A rule is broken.
    """
    copies, agents = env.num_envs, env.num_agents
    width = max(group.action.size for group in env.groups)
    per_agent = (copies, agents, env.observation_size)
    wanted: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "observation": (per_agent, torch.float32),
        "final_observation": (per_agent, torch.float32),
        "action_mask": ((copies, agents, width), torch.bool),
        "agent_alive": ((copies, agents), torch.bool),
        "reward": ((copies, agents), torch.float32),
        "cost": ((copies, agents, env.num_costs), torch.float32),
        "terminated": ((copies,), torch.bool),
        "truncated": ((copies,), torch.bool),
        "global_state": ((copies, env.state_size), torch.float32),
        "final_global_state": ((copies, env.state_size), torch.float32),
    }
    for name, values in named_tensors(record):
        one, _, key = name.partition(".")
        default = ((copies,) if one == "metrics" else (copies, agents), torch.float32)
        shape, dtype = wanted[name] if not key else default
        if values.shape != shape or values.dtype != dtype:
            raise ConformanceError(
                "shapes",
                f"{name} is {tuple(values.shape)} of {values.dtype}, not {shape} of {dtype}",
            )
        if values.device.type != env.device.type:
            raise ConformanceError("shapes", f"{name} is on {values.device}, not {env.device}")
        if not torch.isfinite(values).all():
            raise ConformanceError("finite", f"{name} holds a value that is not finite")


def check_values(env: BatchedEnvironment, record: StepRecord) -> None:
    """Bounds, padding, the last observation, masks and the sum of the reward terms.

    Args:
        env: The environment.
        record: Any record of it.

    Raises:
        ConformanceError: A rule is broken.
    """
    for name in ("observation", "final_observation"):
        for group in env.groups:
            seen = getattr(record, name)[:, list(group.members)]
            if (seen[..., group.observation_size :] != 0).any():
                raise ConformanceError("padding", f"{name} of {group.name} is padded with numbers")
            seen = seen[..., : group.observation_size]
            low, high = group.observation_low, group.observation_high
            if (seen < low).any() or (seen > high).any():
                raise ConformanceError(
                    "bounds",
                    f"{name} of {group.name} spans [{seen.min():g}, {seen.max():g}], "
                    f"declared are [{low:g}, {high:g}]",
                )
    _check_final(record)
    _check_final_state(record)
    _check_mask(env, record)
    if record.reward_terms:
        total = torch.stack(list(record.reward_terms.values()))
        room = TERM_TOLERANCE * (1.0 + total.abs().sum(0))
        if ((total.sum(0) - record.reward).abs() > room).any():
            raise ConformanceError("reward_terms", "the terms do not sum to the reward")


def _check_final(record: StepRecord) -> None:
    ended = record.terminated | record.truncated
    same = record.final_observation == record.observation
    if not same[~ended].all():
        raise ConformanceError(
            "final_observation", "it must equal observation where no episode ended"
        )
    if ended.any() and same[ended].all():
        raise ConformanceError(
            "final_observation",
            "at the end of an episode it must be the last observation of that one, "
            "and observation the first of the next",
        )


def _check_final_state(record: StepRecord) -> None:
    ended = record.terminated | record.truncated
    if not torch.equal(record.final_global_state[~ended], record.global_state[~ended]):
        raise ConformanceError(
            "final_global_state", "it must equal global_state where no episode ended"
        )


def _check_mask(env: BatchedEnvironment, record: StepRecord) -> None:
    for group in env.groups:
        mask = record.action_mask[:, list(group.members)]
        if mask[..., group.action.size :].any():
            raise ConformanceError("action_mask", f"padding of {group.name} is marked as in use")
        alive = record.agent_alive[:, list(group.members)]
        if group.action.kind == "discrete" and (alive & ~mask.any(-1)).any():
            raise ConformanceError("action_mask", f"a living {group.name} has no choice left")


def check_first(record: StepRecord) -> None:
    """A reset rewards nothing and ends nothing.

    Args:
        record: Returned by a reset.

    Raises:
        ConformanceError: A rule is broken.
    """
    if (record.reward != 0).any() or (record.terminated | record.truncated).any():
        raise ConformanceError("first_record", "reset must return reward zero and no end")


def check_ends(record: StepRecord, age: Tensor, max_steps: int | None) -> None:
    """Truncation and termination exclude one another, and truncation keeps its time.

    Args:
        record: After a step.
        age: Steps each episode has lasted, this one included, `[env]`.
        max_steps: Length at which episodes are truncated, if there is one.

    Raises:
        ConformanceError: A rule is broken.
    """
    terminated, truncated = record.terminated.cpu(), record.truncated.cpu()
    if (terminated & truncated).any():
        raise ConformanceError("truncation", "an episode both terminated and was truncated")
    if max_steps is None:
        return
    if (truncated & (age != max_steps)).any():
        raise ConformanceError(
            "truncation", f"an episode was truncated at another step than {max_steps}"
        )
    if (~(terminated | truncated) & (age >= max_steps)).any():
        raise ConformanceError("truncation", f"an episode went on after {max_steps} steps")


def check_deaths(before: Tensor, record: StepRecord, ended: Tensor) -> None:
    """The dead stay dead within their episode and earn nothing.

    Args:
        before: Who lived before the step, `[env, agent]`.
        record: After the step.
        ended: Which episodes the step ended, `[env]`.

    Raises:
        ConformanceError: A rule is broken.
    """
    goes_on = ~ended.to(before.device)
    if (record.agent_alive & ~before)[goes_on].any():
        raise ConformanceError("deaths", "a dead agent lives again within its episode")
    if (record.reward != 0)[~before].any():
        raise ConformanceError("deaths", "an agent that was dead got a reward")


def named_tensors(record: StepRecord) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of a record with its name.

    Args:
        record: Any.
    """
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Mapping):
            for key, values in value.items():
                yield f"{field.name}.{key}", values
        else:
            yield field.name, value


def build_record(tensors: Mapping[str, Tensor]) -> StepRecord:
    """Put a record together again.

    Args:
        tensors: By the names that `named_tensors` gave.

    Raises:
        ScenarioError: A field is missing.
    """
    parts: dict[str, Tensor | dict[str, Tensor]] = {"metrics": {}, "reward_terms": {}}
    for name, values in tensors.items():
        field, _, key = name.partition(".")
        held = parts.get(field)
        if key and isinstance(held, dict):
            held[key] = values
        else:
            parts[field] = values
    if missing := [one.name for one in fields(StepRecord) if one.name not in parts]:
        raise ScenarioError(f"the saved record lacks {', '.join(missing)}; give a whole one")
    return StepRecord(**parts)  # type: ignore[arg-type]
