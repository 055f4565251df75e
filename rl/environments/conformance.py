"""The examiner of batched environments: each broken rule is named by its own error.

An environment's test calls `check_environment` with invariants of its world, and adds only what is
particular to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rl.environments.base_environment import BatchedEnvironment, InvalidActionError, StepRecord
from rl.environments.record_rules import (
    ConformanceError,
    check_deaths,
    check_ends,
    check_fields,
    check_first,
    check_values,
    named_tensors,
)
from utils.errors import ConfigError
from utils.seeding import derive_seed

MakeEnvironment = Callable[[], BatchedEnvironment]
Invariant = Callable[[BatchedEnvironment, StepRecord], None]
Trajectory = list[StepRecord]


@dataclass(frozen=True, kw_only=True)
class _Examination:
    """What is looked at, and how long."""

    make_env: MakeEnvironment
    num_steps: int
    seed: int
    max_steps: int | None

    def steps(
        self, env: BatchedEnvironment, draw: int = 0
    ) -> Iterator[tuple[Tensor | None, StepRecord]]:
        """Yield the first record, then random actions and what they led to."""
        generator = self.generator(draw)
        record = env.reset(self.seed)
        yield None, record
        for _ in range(self.num_steps):
            action = random_action(env, record, generator)
            record = env.step(action)
            yield action, record

    def record(self, env: BatchedEnvironment, draw: int = 0) -> tuple[list[Tensor], Trajectory]:
        """Play at random; return the actions and copies of all records."""
        steps = [(action, _copy(record)) for action, record in self.steps(env, draw)]
        return [a for a, _ in steps if a is not None], [record for _, record in steps]

    def generator(self, draw: int) -> torch.Generator:
        """Return a source of actions."""
        return torch.Generator().manual_seed(derive_seed(self.seed, "conformance", draw))


def check_environment(
    make_env: MakeEnvironment,
    *,
    num_steps: int = 160,
    seeds: tuple[int, ...] = (0, 1),
    max_steps: int | None = None,
    exact_resume: bool = True,
    invariants: tuple[Invariant, ...] = (),
) -> None:
    """Put an environment through all rules, with random actions.

    Args:
        make_env: Makes the same environment each time; two copies or more, so that leaks show.
        num_steps: Steps of each trajectory; more than one episode, so that ends show.
        seeds: Different trajectories are wanted from each.
        max_steps: Length at which episodes are truncated, if there is one.
        exact_resume: Whether `state_dict` continues bit for bit, as all but foreign ones do.
        invariants: Called with the environment and the record after the reset and every step;
            they raise what they like.

    Raises:
        ConformanceError: A rule is broken.
        ConfigError: The trajectories are too short to see an episode end, or seeds repeat.
    """
    if max_steps is not None and num_steps <= max_steps:
        raise ConfigError(f"num_steps={num_steps} must exceed max_steps={max_steps}")
    if len(set(seeds)) < max(len(seeds), 1) or not seeds:
        raise ConfigError(f"give at least one seed, all different, not {seeds}")
    for seed in seeds:
        one = _Examination(make_env=make_env, num_steps=num_steps, seed=seed, max_steps=max_steps)
        _check_records(one, invariants)
        _check_seeds(one, tuple(other for other in seeds if other > seed))
        _check_reset(one)
        _check_new_episodes(one)
        _check_copies(one)
        _check_masks(one)
        _check_refusals(one)
        if exact_resume:
            _check_state(one)


def random_action(
    env: BatchedEnvironment, record: StepRecord, generator: torch.Generator
) -> Tensor:
    """Draw an action for every agent that its mask allows; padding is zero.

    Args:
        env: The environment.
        record: The newest record.
        generator: Of random numbers, on the CPU.
    """
    mask = record.action_mask.cpu()
    spec = env.groups[0].action
    if spec.kind == "discrete":
        allowed = mask.to(torch.float32)
        allowed[..., 0] += (~mask.any(-1)).to(torch.float32)
        choice = torch.multinomial(allowed.flatten(0, 1), 1, generator=generator)
        return choice.reshape(mask.shape[:2]).to(env.device)
    action = torch.zeros(mask.shape)
    for group in env.groups:
        one = group.action
        drawn = torch.rand((len(mask), len(group.members), one.size), generator=generator)
        action[:, list(group.members), : one.size] = one.low + (one.high - one.low) * drawn
    return torch.where(mask, action, 0.0).to(env.device)


def _check_records(one: _Examination, invariants: tuple[Invariant, ...]) -> None:
    """Play once and look at every record."""
    env = one.make_env()
    age = torch.zeros(env.num_envs, dtype=torch.int64)
    limit_ends = limit_truncations = 0
    kept: tuple[StepRecord, StepRecord] | None = None
    alive: Tensor | None = None
    for number, (_, record) in enumerate(one.steps(env)):
        check_fields(env, record)
        check_values(env, record)
        if kept is not None and (name := _difference(*kept)):
            raise ConformanceError(
                "records_stay", f"{name} of a record changed when the next step was taken"
            )
        kept = (record, _copy(record))
        for invariant in invariants:
            invariant(env, record)
        ended = (record.terminated | record.truncated).cpu()
        if number == 0:
            check_first(record)
        else:
            age += 1
            check_ends(record, age, one.max_steps)
            at_limit = age == (one.max_steps or -1)
            limit_ends += int((ended & at_limit).sum())
            limit_truncations += int((record.truncated.cpu() & at_limit).sum())
            age[ended] = 0
        if alive is not None:
            check_deaths(alive, record, ended)
        alive = record.agent_alive.clone()
    if limit_ends and not limit_truncations:
        raise ConformanceError(
            "truncation",
            f"{limit_ends} episodes reached the limit of {one.max_steps} steps and all were "
            "reported as terminated; a limit of time truncates",
        )


def _check_seeds(one: _Examination, others: tuple[int, ...]) -> None:
    """Equal seeds must give equal trajectories, different ones different ones."""
    actions, first = one.record(one.make_env())
    name = _first_difference(first, _play(one.make_env(), one.seed, actions))
    if name:
        raise ConformanceError("same_seed", f"two environments with one seed differ in {name}")
    for other in others:
        if not _first_difference(first, _play(one.make_env(), other, actions)):
            raise ConformanceError(
                "different_seeds", f"seeds {one.seed} and {other} give the same trajectory"
            )


def _check_reset(one: _Examination) -> None:
    """After any history a seeded reset must begin the same trajectory."""
    env = one.make_env()
    actions, first = one.record(env)
    for steps in (1, len(actions)):
        for action in actions[-steps:]:
            env.step(action)
        if name := _first_difference(first, _play(env, one.seed, actions)):
            raise ConformanceError(
                "reset", f"{name} after a reset depends on what happened before it"
            )


def _check_new_episodes(one: _Examination) -> None:
    """The first observation of an episode must not depend on actions in the one before."""
    _, first = one.record(one.make_env())
    _, second = one.record(one.make_env(), draw=1)
    for left, right in zip(first[1:], second[1:], strict=True):
        ended = left.terminated | left.truncated
        if not torch.equal(ended, right.terminated | right.truncated):
            return
        if not torch.equal(left.observation[ended], right.observation[ended]):
            raise ConformanceError(
                "reset", "an episode's first observation depends on actions of the one before"
            )


def _check_copies(one: _Examination) -> None:
    """Other actions in one copy must change that copy, and no other by a single bit."""
    env = one.make_env()
    actions, first = one.record(env)
    for chosen in {0, env.num_envs - 1}:
        generator = one.generator(2)
        record = env.reset(one.seed)
        others = torch.arange(env.num_envs) != chosen
        effect = False
        for action, before in zip(actions, first[1:], strict=True):
            changed = action.clone()
            changed[chosen] = random_action(env, record, generator)[chosen]
            record = env.step(changed)
            if name := _difference(_rows(before, others), _rows(record, others)):
                raise ConformanceError(
                    "copies", f"an action in copy {chosen} changed {name} of another copy"
                )
            effect = effect or bool(_difference(before, record))
        if not effect:
            raise ConformanceError("actions", f"no action in copy {chosen} changed anything")


def _check_masks(one: _Examination) -> None:
    """Masked dimensions, and all that dead agents do, must change nothing."""
    env = one.make_env()
    spec = env.groups[0].action
    actions, first = one.record(env)
    other = torch.tensor(spec.size - 1 if spec.kind == "discrete" else spec.high)
    after = [env.reset(one.seed)]
    for action, before in zip(actions, first, strict=False):
        used = before.agent_alive
        if spec.kind == "continuous":
            used = before.action_mask & used[..., None]
        after.append(_copy(env.step(torch.where(used, action, other.to(action)))))
    if name := _first_difference(first, after):
        raise ConformanceError(
            "action_mask", f"a masked dimension or a dead agent's action changed {name}"
        )


def _check_refusals(one: _Examination) -> None:
    """Actions that make no sense must be refused, and leave no trace."""
    env = one.make_env()
    actions, first = one.record(env)
    env.reset(one.seed)
    wrong = {"with a copy too many": torch.cat([actions[0], actions[0][:1]])}
    if env.groups[0].action.kind == "continuous":
        wrong["that is not finite"] = torch.full_like(actions[0], float("nan"))
    else:
        wrong["beyond the choices"] = torch.full_like(actions[0], env.groups[0].action.size)
    for what, action in wrong.items():
        try:
            env.step(action)
        except InvalidActionError:
            continue
        raise ConformanceError("refusal", f"an action {what} raised no InvalidActionError")
    for action, before in zip(actions, first[1:], strict=True):
        if name := _difference(before, env.step(action)):
            raise ConformanceError("refusal", f"a refused action changed {name} afterwards")


def _check_state(one: _Examination) -> None:
    """A saved state must continue bit for bit, in a new environment and in the old one."""
    env = one.make_env()
    actions, first = one.record(env)
    at = one.num_steps // 3
    env.reset(one.seed)
    for action in actions[:at]:
        env.step(action)
    state = env.state_dict()
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise ConformanceError("state", "state_dict must hold tensors only")
    saved = {name: value.clone() for name, value in state.items()}
    for action in actions[at:]:
        env.step(action)
    for name, value in saved.items():
        if not torch.equal(value, state[name]):
            raise ConformanceError("state", f"{name} of a saved state changed with later steps")
    for where, other in (("a new", one.make_env()), ("the same", env)):
        other.load_state_dict(saved)
        for action, before in zip(actions[at:], first[at + 1 :], strict=True):
            if name := _difference(before, other.step(action)):
                raise ConformanceError(
                    "state", f"{name} differs after a saved state was loaded into {where} one"
                )


def _play(env: BatchedEnvironment, seed: int, actions: list[Tensor]) -> Trajectory:
    return [_copy(env.reset(seed)), *(_copy(env.step(action)) for action in actions)]


def _map(record: StepRecord, change: Callable[[Tensor], Tensor]) -> StepRecord:
    changed: dict[str, Tensor | Mapping[str, Tensor]] = {}
    for name, value in vars(record).items():
        if isinstance(value, Mapping):
            changed[name] = {key: change(values) for key, values in value.items()}
        else:
            changed[name] = change(value)
    return replace(record, **changed)  # type: ignore[arg-type]


def _copy(record: StepRecord) -> StepRecord:
    return _map(record, torch.clone)


def _rows(record: StepRecord, chosen: Tensor) -> StepRecord:
    return _map(record, lambda values: values[chosen.to(values.device)])


def _difference(left: StepRecord, right: StepRecord) -> str:
    """Return the name of the first tensor that differs by a bit, or nothing."""
    others = dict(named_tensors(right))
    for name, values in named_tensors(left):
        if name not in others or not torch.equal(values, others[name]):
            return name
    return ""


def _first_difference(left: Trajectory, right: Trajectory) -> str:
    """Return where two trajectories first differ, in words, or nothing."""
    for step, (one, other) in enumerate(zip(left, right, strict=True)):
        if name := _difference(one, other):
            return f"{name} at step {step}"
    return ""
