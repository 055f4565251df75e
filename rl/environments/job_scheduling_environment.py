"""A cluster that runs jobs one by one from a queue, as one batched program; DeepRM's world."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data.job_arrivals import JobArrivals, JobConfig, JobScenarios, rate_for_load
from data.scenario import BankConfig, ScenarioBank
from rl.domains.job_scheduling import JobSchedulingConfig, JobSchedulingDomain, JobView
from rl.environments.base_environment import ActionSpec, AgentGroup, Chart
from rl.environments.faces import DictEnvironment
from rl.environments.lockstep import (
    LockstepEnvironment,
    LockstepOptions,
    Outcome,
    WorldShape,
    WorldState,
)
from utils.errors import ConfigError

JobBank = ScenarioBank[JobScenarios]


@dataclass(frozen=True, kw_only=True)
class JobState(WorldState):
    """Bookings and the queue; a job is known by the time at which it arrives."""

    free: Tensor
    """`[env, resource, time]`: units not booked, from now on."""
    ending: Tensor
    """`[env, 2, time]`: number of booked jobs that end after so many further steps, and the sum
    of one over their lengths."""
    slots: Tensor
    """`[env, slot]`: the waiting job, or the number of arrival steps where there is none."""
    arrived: Tensor
    """`[env]`: jobs so far."""
    entered: Tensor
    """`[env]`: jobs that have reached the window; the others wait behind it."""
    now: Tensor
    """`[env]`: steps of time that have passed; decisions that book a job take none."""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A state, what is known in it, and when each waiting job could start."""

    state: JobState
    view: JobView
    start: Tensor
    """`[env, slot]`: of `JobSchedulingDomain.earliest_start`."""


class BatchedJobScheduling(LockstepEnvironment[JobState]):
    """Copies of a cluster with a queue; decisions in lockstep, time runs in each copy by itself.

    A decision: choose a waiting job, and it is booked from the first step on at which it fits until
    it ends, while no time passes; or choose none, or one that cannot be booked, and a step passes:
    jobs end, and the next job arrives in the first empty slot of the window or behind it.
    Observation `[observation_size]` in [0, 1]: see `JobSchedulingDomain.encode`.
    Action: slot, or `window` to let a step pass; masked where nothing can be booked.
    Reward, in steps that pass: `waiting` and `running`, minus one over the length of every job that
    waits or is booked; a job's rewards sum to minus its slowdown. Cost: none.
    End: terminated never; truncated after `config.max_steps` decisions. When all jobs are done the
    rest of the episode is idle and earns nothing.
    Metrics: `slowdown_sum` over `placed_jobs` is the mean slowdown, known once a job is booked;
    `utilisation` summed over an episode counts steps of time, so divide by `time_steps`.
    Invariants: nothing is booked twice; arrived = waiting + running + finished.
    """

    charts = (
        Chart(title="jobs waiting", metrics=("waiting_jobs",), unit="jobs"),
        Chart(title="jobs booked or running", metrics=("running_jobs",), unit="jobs"),
        Chart(title="finished so far", metrics=("finished_jobs",), unit="jobs", is_sum=True),
        Chart(
            title="slowdown of the jobs placed so far",
            metrics=("slowdown_sum",),
            unit="times their length",
            is_sum=True,
        ),
        Chart(
            title="capacity used so far",
            metrics=("utilisation",),
            unit="steps of full use",
            is_sum=True,
        ),
    )

    def __init__(
        self, config: JobSchedulingConfig, bank: JobBank, options: LockstepOptions, seed: int
    ) -> None:
        """Build the copies; call `reset` before the first step.

        Args:
            config: The world.
            bank: Its scenarios; refreshed by this environment.
            options: How it is played.
            seed: Seed of the choice of episodes.

        Raises:
            ConfigError: The bank's arrays do not fit the world.
        """
        _check_bank(bank, config)
        self.config = config
        self.device = torch.device(options.device)
        self.domain = JobSchedulingDomain(config, torch, self._tensor)
        scheduler = AgentGroup(
            name="scheduler",
            members=(0,),
            observation_size=config.observation_size,
            action=ActionSpec(kind="discrete", size=config.window + 1),
            observation_low=0.0,
            observation_high=1.0,
        )
        shape = WorldShape(
            agent_ids=("scheduler",),
            groups=(scheduler,),
            state_size=config.observation_size,
            num_steps=config.max_steps,
        )
        self._copy = torch.arange(options.num_envs, device=self.device)
        self._time = torch.arange(config.horizon, device=self.device)
        self._seen: _Seen | None = None
        super().__init__(bank, options, shape, seed)

    @property
    def view(self) -> JobView:
        """What is known before the next decision, over all copies."""
        return self._see().view

    def _tensor(self, values: object) -> Tensor:
        return torch.as_tensor(values, device=self.device)

    def _enter_episodes(self) -> None:
        """List the jobs of the episodes; one that does not exist is added for empty slots."""
        length, need = self.rows["length"].long(), self.rows["need"]
        nothing = length.new_zeros((self.num_envs, 1))
        self._length = torch.cat([length, nothing], dim=1)
        self._need = torch.cat([need, torch.zeros_like(need[:, :1])], dim=1)
        is_job = self._length > 0
        self._inverse = torch.where(is_job, 1.0 / self._length.clamp(min=1), 0.0)
        self._order = (~is_job).to(torch.int8).argsort(dim=1, stable=True)
        inverse = self._inverse.gather(1, self._order)
        self._inverse_sum = torch.cat([nothing, inverse.cumsum(1)], dim=1)

    def _first_state(self) -> JobState:
        config, steps = self.config, self.config.num_arrival_steps
        zero = torch.zeros_like(self._copy)
        arrived = (self._length[:, 0] > 0).long()
        slots = torch.full((self.num_envs, config.window), steps, device=self.device)
        slots[:, 0] = torch.where(arrived > 0, zero, steps)
        capacity = self.rows["capacity"]
        return JobState(
            free=capacity[..., None].repeat(1, 1, config.horizon),
            ending=capacity.new_zeros((self.num_envs, 2, config.horizon)),
            slots=slots,
            arrived=arrived,
            entered=arrived,
            now=zero,
        )

    def _see(self) -> _Seen:
        """Look at a state once, however often it is asked for."""
        state = self.state
        if self._seen is not None and self._seen.state is state:
            return self._seen
        jobs, steps = state.slots, self.config.num_arrival_steps
        length = self._length.gather(1, jobs)
        view = JobView(
            free=state.free,
            capacity=self.rows["capacity"],
            length=length,
            need=self._need[self._copy[:, None], jobs],
            waited=torch.where(length > 0, state.now[:, None] - jobs, 0),
            backlog=state.arrived - state.entered,
            arrivals_left=(steps - 1 - state.now).clamp(min=0) / steps,
        )
        self._seen = _Seen(state=state, view=view, start=self.domain.earliest_start(view))
        return self._seen

    def _advance(self, action: Tensor) -> Outcome[JobState]:
        """Book the chosen job, or let a step pass."""
        before, seen, config = self.state, self._see(), self.config
        slot = action[:, :1].clamp(max=config.window - 1)
        chosen = action[:, 0] < config.window
        start = torch.where(chosen, seen.start.gather(1, slot)[:, 0], config.horizon)
        placed = start < config.horizon
        length = seen.view.length.gather(1, slot)[:, 0]
        need = seen.view.need[self._copy, slot[:, 0]]
        last = start + length - 1
        booked = ((self._time >= start[:, None]) & (self._time <= last[:, None])).float()
        free = before.free - need[..., None] * booked[:, None]
        ends = ((self._time == last[:, None]) & placed[:, None]).float()
        inverse = 1.0 / length.clamp(min=1)
        ending = before.ending + torch.stack([ends, ends * inverse[:, None]], dim=1)
        capacity = self.rows["capacity"]
        in_use = (capacity - free[..., 0]).sum(1) / capacity.sum(1)
        stays = placed[:, None, None]
        finished = torch.where(placed, 0.0, ending[:, 0, 0])
        free = torch.where(stays, free, torch.cat([free[..., 1:], capacity[..., None]], dim=-1))
        nothing = torch.zeros_like(ending[..., :1])
        ending = torch.where(stays, ending, torch.cat([ending[..., 1:], nothing], dim=-1))
        state = self._queue(before, placed, slot, free=free, ending=ending)
        passed = (~placed).float()
        slowdown = (seen.view.waited.gather(1, slot)[:, 0] + last + 1) * inverse
        waiting = self._inverse.gather(1, state.slots).sum(1)
        waiting = waiting + self._inverse_sum[self._copy, state.arrived]
        waiting = waiting - self._inverse_sum[self._copy, state.entered]
        metrics = {
            "time_steps": passed,
            "arrived_jobs": (state.arrived - before.arrived).float(),
            "placed_jobs": placed.float(),
            "slowdown_sum": torch.where(placed, slowdown, 0.0),
            "finished_jobs": finished,
            "waiting_jobs": (
                (state.slots < config.num_arrival_steps).sum(1) + state.arrived - state.entered
            ).float(),
            "running_jobs": state.ending[:, 0].sum(1),
            "utilisation": passed * in_use,
        }
        terms = {"waiting": -passed * waiting, "running": -passed * ending[:, 1].sum(1)}
        return Outcome(
            state=state,
            reward_terms={name: value[:, None] for name, value in terms.items()},
            metrics=metrics,
        )

    def _queue(
        self, before: JobState, placed: Tensor, slot: Tensor, *, free: Tensor, ending: Tensor
    ) -> JobState:
        """Fill the slot that became empty, or let time pass and a job arrive."""
        steps = self.config.num_arrival_steps
        now = before.now + (~placed).long()
        arrival = now.clamp(max=steps)
        arrives = ~placed & (self._length[self._copy, arrival] > 0)
        has_backlog = before.arrived > before.entered
        successor = torch.where(has_backlog, self._order[self._copy, before.entered], steps)
        is_empty = before.slots == steps
        enters = arrives & is_empty.any(1)
        position = torch.where(placed[:, None], slot, is_empty.long().argmax(1, keepdim=True))
        held = before.slots.gather(1, position)[:, 0]
        filled = torch.where(placed, successor, torch.where(enters, arrival, held))
        return JobState(
            free=free,
            ending=ending,
            slots=before.slots.scatter(1, position, filled[:, None]),
            arrived=before.arrived + arrives.long(),
            entered=before.entered + (enters | (placed & has_backlog)).long(),
            now=now,
        )

    def _observe(self) -> Tensor:
        observation: Tensor = self.domain.encode(self.view)[:, None]
        return observation

    def _action_mask(self) -> Tensor:
        mask: Tensor = self.domain.feasible(self._see().start)[:, None]
        return mask


class JobSchedulingEnvironment(DictEnvironment):
    """The preset `job_scheduling`, spoken to in dicts; see `BatchedJobScheduling`."""

    def __init__(
        self,
        load: float = 1.3,
        window: int = 10,
        max_steps: int = 400,
        seed: int | None = None,
        *,
        render_mode: str | None = None,
    ) -> None:
        """Build the world; call `reset` before the first step.

        Args:
            load: Work that arrives in a step as a share of the capacity.
            window: Waiting jobs that are seen.
            max_steps: Decisions in an episode.
            seed: Of the episodes; None is zero.
            render_mode: What `render` returns: text for `ansi`, a picture for `rgb_array`.

        Raises:
            ConfigError: A number is out of range.
        """
        config = JobSchedulingConfig(window=window, max_steps=max_steps)
        jobs = JobConfig(arrival_rate=rate_for_load(load, JobConfig()))
        bank = ScenarioBank(JobArrivals(jobs), BankConfig(), seed or 0)
        options = LockstepOptions(num_envs=1)
        super().__init__(BatchedJobScheduling(config, bank, options, seed or 0), render_mode)


def _check_bank(bank: JobBank, config: JobSchedulingConfig) -> None:
    scenarios = bank.scenarios
    wanted = (config.num_arrival_steps, config.num_resources)
    if scenarios.need.shape[1:] != wanted:
        raise ConfigError(
            f"the bank holds (arrival steps, resources) = {scenarios.need.shape[1:]}, not {wanted}"
        )
    if scenarios.length.max() > config.horizon:
        raise ConfigError(
            f"a job runs {scenarios.length.max()} steps, more than the horizon of "
            f"{config.horizon}; it could never be booked, so lengthen the horizon"
        )
