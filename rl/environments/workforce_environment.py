"""People with skills and hours who are called to shifts, as one batched program."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data.scenario import BankConfig, ScenarioBank
from data.staffing_demand import StaffingConfig, StaffingDemand, StaffingScenarios
from rl.domains.workforce import (
    OBSERVATION_LIMIT,
    WorkforceConfig,
    WorkforceDomain,
    WorkforceView,
)
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

StaffingBank = ScenarioBank[StaffingScenarios]


@dataclass(frozen=True, kw_only=True)
class WorkforceState(WorldState):
    """What people have worked, `[env, employee]` each."""

    hours: Tensor
    """This week."""
    total_hours: Tensor
    """This episode."""
    just_worked: Tensor
    """1 for those who were in the shift before and must rest."""


@dataclass(frozen=True, kw_only=True)
class _Shift:
    """Who worked."""

    worked: Tensor
    """`[env, employee]`: 1 for those who did."""
    staffed: Tensor
    """`[env, skill]`: people."""


class BatchedWorkforce(LockstepEnvironment[WorkforceState]):
    """Copies of a roster; all plan one shift at a time, episodes in lockstep.

    A step: so many people are called per skill, skill by skill in their order; those with the most
    contract hours left this week come first, one skill each. Who is absent, was in the shift before
    or would exceed contract and overtime together cannot be called. Then the demand shows.
    Observation `[observation_size]` in [0, 5]: see `WorkforceDomain.encode`.
    Action `[skill]` in [0, 1]: share of the people with the skill, rounded to whole people; masked
    for skills that nobody has.
    Reward, in currency: `wages` (all hours worked), `overtime` (the premium on those beyond the
    contract) and `understaffing` (a penalty per hour and missing person). Cost: people missing.
    End: terminated never; truncated after `config.num_shifts`.
    Metrics: people and hours; `fairness`, Jain's index of the shares of their contract that people
    have worked since the episode began, 1 where all are equal.
    Invariants: nobody works twice, two shifts in a row, or beyond contract and overtime;
    staffed + missing - extra = demand.
    """

    charts = (
        Chart(title="people needed", metrics=("demand_people", "missing_people"), unit="people"),
        Chart(title="people at work", metrics=("staffed_people",), unit="people"),
        Chart(title="overtime so far", metrics=("overtime_hours",), unit="hours", is_sum=True),
        Chart(
            title="cost so far", metrics=("wages", "understaffing"), unit="currency", is_sum=True
        ),
        Chart(title="fairness of hours", metrics=("fairness",), unit="Jain's index"),
    )

    def __init__(
        self, config: WorkforceConfig, bank: StaffingBank, options: LockstepOptions, seed: int
    ) -> None:
        """Build the copies; call `reset` before the first step.

        Args:
            config: The roster.
            bank: Its scenarios; refreshed by this environment.
            options: How it is played.
            seed: Seed of the choice of episodes.

        Raises:
            ConfigError: The bank's arrays do not fit the roster.
        """
        _check_bank(bank, config)
        self.config = config
        self.domain = WorkforceDomain(config, torch)
        planner = AgentGroup(
            name="planner",
            members=(0,),
            observation_size=config.observation_size,
            action=ActionSpec(kind="continuous", size=config.num_skills),
            observation_low=0.0,
            observation_high=OBSERVATION_LIMIT,
        )
        shape = WorldShape(
            agent_ids=("planner",),
            groups=(planner,),
            state_size=config.observation_size,
            num_steps=config.num_shifts,
            num_costs=1,
        )
        super().__init__(bank, options, shape, seed)

    @property
    def view(self) -> WorkforceView:
        """What is known before the next shift, over all copies."""
        config, state, t = self.config, self.state, self.t
        contract = self.rows["contract_hours"]
        has_room = state.hours + config.shift_hours <= contract + config.max_overtime
        is_absent = self._absent[:, t] > 0
        can_work = has_room & (contract > 0) & ~is_absent & (state.just_worked == 0)
        return WorkforceView(
            skills=self.rows["skills"],
            contract_hours=contract,
            hours=state.hours,
            can_work=can_work.float(),
            forecast=self._forecast[:, t : t + config.lookahead],
            shift_of_week=torch.full_like(contract[:, 0], t % config.shifts_per_week),
            shifts_left=torch.full_like(contract[:, 0], config.num_shifts - t),
        )

    def _enter_episodes(self) -> None:
        forecast, absent = self.rows["forecast"], self.rows["absent"]
        after = forecast.new_zeros((self.num_envs, self.config.lookahead, self.config.num_skills))
        self._forecast = torch.cat([forecast, after], dim=1)
        self._absent = torch.cat([absent, torch.ones_like(absent[:, :1])], dim=1)

    def _first_state(self) -> WorkforceState:
        nothing = torch.zeros_like(self.rows["contract_hours"])
        return WorkforceState(hours=nothing, total_hours=nothing, just_worked=nothing)

    def _advance(self, action: Tensor) -> Outcome[WorkforceState]:
        """Call people, see the demand, pay."""
        config, before, view = self.config, self.state, self.view
        shift = self._call(self.domain.project(action[:, 0], view), view)
        worked = config.shift_hours * shift.worked
        room = (view.contract_hours - before.hours).clamp(min=0.0)
        overtime = (worked - room).clamp(min=0.0)
        demand = self.rows["demand"][:, self.t]
        missing = (demand - shift.staffed).clamp(min=0.0)
        penalty = config.understaffing_penalty * config.shift_hours
        terms = {
            "wages": -config.wage * worked.sum(1),
            "overtime": -config.overtime_premium * config.wage * overtime.sum(1),
            "understaffing": -penalty * missing.sum(1),
        }
        is_new_week = (self.t + 1) % config.shifts_per_week == 0
        hours = before.hours + worked
        state = WorkforceState(
            hours=torch.zeros_like(hours) if is_new_week else hours,
            total_hours=before.total_hours + worked,
            just_worked=shift.worked,
        )
        metrics = {
            "demand_people": demand.sum(1),
            "staffed_people": shift.staffed.sum(1),
            "missing_people": missing.sum(1),
            "extra_people": (shift.staffed - demand).clamp(min=0.0).sum(1),
            "regular_hours": (worked - overtime).sum(1),
            "overtime_hours": overtime.sum(1),
            "fairness": self._fairness(state.total_hours),
        }
        return Outcome(
            state=state,
            reward_terms={name: value[:, None] for name, value in terms.items()},
            metrics=metrics,
            cost=missing.sum(1)[:, None, None],
        )

    def _call(self, people: Tensor, view: WorkforceView) -> _Shift:
        """Let those with the most contract hours left come first, skill by skill."""
        room = view.contract_hours - view.hours
        order = room.argsort(dim=1, descending=True, stable=True)
        free = view.can_work.gather(1, order)
        skills = view.skills.gather(1, order[..., None].expand(view.skills.shape))
        staffed = []
        for skill in range(self.config.num_skills):
            able = free * skills[..., skill]
            comes = able * (able.cumsum(1) <= people[:, skill : skill + 1])
            free = free - comes
            staffed.append(comes.sum(1))
        left = torch.zeros_like(free).scatter(1, order, free)
        return _Shift(worked=view.can_work - left, staffed=torch.stack(staffed, dim=1))

    def _fairness(self, total_hours: Tensor) -> Tensor:
        contract = self.rows["contract_hours"]
        share = torch.where(contract > 0, total_hours / contract.clamp(min=1.0), 0.0)
        squares = (contract > 0).sum(1) * share.square().sum(1)
        return torch.where(squares > 0, share.sum(1).square() / squares.clamp(min=1e-12), 1.0)

    def _observe(self) -> Tensor:
        observation: Tensor = self.domain.encode(self.view)[:, None]
        return observation

    def _action_mask(self) -> Tensor:
        mask: Tensor = self.domain.in_use(self.view)[:, None]
        return mask


class WorkforceEnvironment(DictEnvironment):
    """The preset `workforce`, spoken to in dicts; see `BatchedWorkforce`."""

    def __init__(
        self,
        num_employees: int = 20,
        num_skills: int = 3,
        num_weeks: int = 2,
        seed: int | None = None,
        *,
        render_mode: str | None = None,
    ) -> None:
        """Build the world; call `reset` before the first step.

        Args:
            num_employees: People; demand grows with them.
            num_skills: Skills that shifts need.
            num_weeks: Length of an episode.
            seed: Of the episodes; None is zero.
            render_mode: What `render` returns: text for `ansi`, a picture for `rgb_array`.

        Raises:
            ConfigError: A number is out of range.
        """
        law = StaffingConfig(
            num_employees=num_employees,
            num_skills=num_skills,
            num_weeks=num_weeks,
            people_per_shift=0.18 * num_employees,
        )
        config = WorkforceConfig(
            num_employees=num_employees, num_skills=num_skills, num_shifts=law.num_shifts
        )
        bank = ScenarioBank(StaffingDemand(law), BankConfig(), seed or 0)
        super().__init__(
            BatchedWorkforce(config, bank, LockstepOptions(num_envs=1), seed or 0), render_mode
        )


def _check_bank(bank: StaffingBank, config: WorkforceConfig) -> None:
    scenarios = bank.scenarios
    held = (*scenarios.demand.shape[1:], scenarios.absent.shape[2])
    wanted = (config.num_shifts, config.num_skills, config.num_employees)
    if held != wanted:
        raise ConfigError(f"the bank holds (shifts, skills, employees) = {held}, not {wanted}")
