"""What a trainer calls after every update, so that its world follows the curriculum."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from data.scenario import BankConfig, MixedSource, ScenarioArrays, ScenarioBank, ScenarioSource
from rl.environments.base_environment import StepRecord
from rl.training.curriculum import CurriculumManager, CurriculumStateError, Place
from rl.training.curriculum_report import CompletionReport
from rl.training.curriculum_world import ProblemStage
from rl.training.rollout import RolloutSummary
from utils.config import from_json, to_json
from utils.errors import ConfigError
from utils.seeding import derive_seed


@runtime_checkable
class PlaysBanks(Protocol):
    """A world whose scenarios can be exchanged."""

    def use_bank(self, bank: ScenarioBank[Any], *, seed: int) -> StepRecord:
        """Play other scenarios of the same shapes from now on."""
        ...


@runtime_checkable
class EntersPlaces(Protocol):
    """Worlds elsewhere, which draw the scenarios of a place themselves."""

    def enter(self, place: Place, number: int) -> None:
        """Play the scenarios of a place from now on; episodes under way are left."""
        ...


CurriculumWorlds = PlaysBanks | EntersPlaces


@dataclass(frozen=True, kw_only=True)
class StageEntry:
    """When a place was entered."""

    env_steps: int
    stage: str
    difficulty: float


@dataclass(frozen=True, kw_only=True)
class DriverState:
    """What a checkpoint holds beside the manager's state."""

    entries: tuple[StageEntry, ...]


@dataclass(frozen=True, kw_only=True)
class CurriculumReport:
    """What came of a curriculum, and when."""

    timeline: tuple[StageEntry, ...]
    """In order of time; a stage lasts until the next entry."""
    completion: CompletionReport


class CurriculumDriver:
    """Scores what was played, asks the manager, and puts the scenarios of its place in.

    After `after_update` the learner must begin with the record that `take_record` returns, if it
    returns one: `learner.take_record(record)`. Episodes under way are left; they count for nothing.
    """

    def __init__(
        self,
        manager: CurriculumManager,
        stages: Sequence[ProblemStage],
        *,
        bank: BankConfig,
        seed: int,
    ) -> None:
        """Keep the parts; call `begin` or `restore` before training.

        Args:
            manager: Decides; new, or restored by hand.
            stages: The manager's, in its order, with scenarios.
            bank: Sizes of every bank.
            seed: Of all scenarios and the choice among them.

        Raises:
            ConfigError: The stages are not the manager's.
        """
        if tuple(one.stage for one in stages) != manager.stages:
            raise ConfigError(
                f"the manager has the stages {', '.join(one.name for one in manager.stages)}, but "
                f"scenarios are given for {', '.join(one.stage.name for one in stages)}; give it "
                "the same stages"
            )
        self.manager = manager
        self._stages = tuple(stages)
        self._bank, self._seed = bank, seed
        self._entries: tuple[StageEntry, ...] = ()
        self._record: StepRecord | None = None

    @property
    def stage(self) -> ProblemStage:
        """The stage that is played."""
        return self._stages[self.manager.place.stage]

    def begin(self, environment: CurriculumWorlds) -> None:
        """Put the scenarios of the present place in, before the learner is made.

        Args:
            environment: What will be trained in.
        """
        self._enter(environment, 0)
        self._record = None

    def after_update(
        self, environment: CurriculumWorlds, summary: RolloutSummary, env_steps: int
    ) -> str | None:
        """Tell the manager how the finished episodes went, and follow it.

        Args:
            environment: What is trained in.
            summary: Of the update.
            env_steps: Transitions so far, over all copies.

        Returns:
            Name of the stage that was entered, or None if the stage is the same; a move within a
            stage exchanges the scenarios too.

        Raises:
            ConfigError: A figure that the stage is judged by is absent, or a score is not finite.
        """
        if summary.mean_return is None:
            return None
        before = self.manager.place
        has_changed = self.manager.update(
            self.score(summary.mean_return),
            self.stage.figures(summary.metrics),
            episodes=summary.episodes,
        )
        if self.manager.place == before:
            return None
        self._enter(environment, env_steps)
        return self.manager.current_stage.name if has_changed else None

    def figures(self, env_steps: int) -> dict[str, float]:
        """Return where the curriculum stands, by metric name.

        Args:
            env_steps: Transitions so far, over all copies.
        """
        places = [(self._number_of(entry.stage), entry.difficulty) for entry in self._entries]
        moves = list(itertools.pairwise(places))
        entered = env_steps
        for entry in reversed(self._entries):
            if entry.stage != self._entries[-1].stage:
                break
            entered = entry.env_steps
        number, difficulty = places[-1]
        return {
            "curriculum/stage": float(number),
            "curriculum/stages": float(len(self._stages)),
            "curriculum/difficulty": difficulty,
            "curriculum/stage_env_steps": float(env_steps - entered),
            "curriculum/promotions": float(sum(after > before for before, after in moves)),
            "curriculum/regressions": float(sum(after < before for before, after in moves)),
        }

    def take_record(self) -> StepRecord | None:
        """Return, once, the first record of scenarios that were put in since the last call."""
        record, self._record = self._record, None
        return record

    def score(self, mean_return: float) -> float:
        """Return how far a return has come from chance, 0, to the expert, 1, at this place.

        Args:
            mean_return: Of episodes played here.
        """
        here, share = self.stage.scale, self.manager.place.difficulty
        if share == 0:
            return here.score(mean_return)
        ahead = self._stages[self.manager.place.stage + 1].scale
        chance = (1 - share) * here.random + share * ahead.random
        expert = (1 - share) * here.expert + share * ahead.expert
        return (mean_return - chance) / (expert - chance)

    def make_bank(self) -> ScenarioBank[ScenarioArrays]:
        """Draw the bank of the present place, to build the world with."""
        return self._draw_bank(len(self._entries))

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold, as JSON values."""
        driver = DriverState(entries=self._entries)
        return {"driver": to_json(driver), "manager": self.manager.state_to_json()}

    def restore(self, environment: CurriculumWorlds, state: Mapping[str, Any]) -> None:
        """Go on from a saved state; call it before the environment's own state is loaded.

        Args:
            environment: What is trained in; takes the bank that it had.
            state: What `state` returned.

        Raises:
            CurriculumStateError: It is damaged or of another curriculum; nothing has changed.
        """
        entries = self._read_entries(state)
        self.manager.load_state_json(state["manager"])
        self._entries = entries
        self._put_in(environment, len(entries) - 1)
        self._record = None

    def report(self) -> CurriculumReport:
        """Return what came of the curriculum, and when each place was entered."""
        return CurriculumReport(
            timeline=self._entries, completion=self.manager.get_completion_report()
        )

    def _read_entries(self, state: Mapping[str, Any]) -> tuple[StageEntry, ...]:
        """Return the timeline of a saved state, which must end where its manager stands."""
        if not all(isinstance(state.get(name), Mapping) for name in ("manager", "driver")):
            raise CurriculumStateError(
                f"a saved curriculum has driver and manager, not {', '.join(state) or 'nothing'}"
            )
        probe = CurriculumManager(self.manager.stages, self.manager.scheduler)
        probe.load_state_json(state["manager"])
        try:
            entries = from_json(DriverState, state["driver"]).entries
        except ConfigError as error:
            raise CurriculumStateError(f"the saved curriculum is damaged: {error}") from error
        last = [(one.stage, one.difficulty) for one in entries[-1:]]
        if last != [(probe.current_stage.name, probe.place.difficulty)]:
            raise CurriculumStateError(
                f"the saved timeline ends in {last or 'nothing'}, its manager stands in "
                f"{probe.current_stage.name}: the file was altered; take another one"
            )
        return entries

    def _number_of(self, name: str) -> int:
        """Return a stage's number, from 1."""
        return 1 + [one.stage.name for one in self._stages].index(name)

    def _enter(self, environment: CurriculumWorlds, env_steps: int) -> None:
        self._put_in(environment, len(self._entries))
        entry = StageEntry(
            env_steps=env_steps,
            stage=self.manager.current_stage.name,
            difficulty=self.manager.place.difficulty,
        )
        self._entries = (*self._entries, entry)

    def _put_in(self, environment: CurriculumWorlds, number: int) -> None:
        if isinstance(environment, EntersPlaces):
            environment.enter(self.manager.place, number)
            return
        seed = episode_seed(self._seed, number)
        self._record = environment.use_bank(self._draw_bank(number), seed=seed)

    def _draw_bank(self, number: int) -> ScenarioBank[ScenarioArrays]:
        place = self.manager.place
        return draw_bank(self._stages, place, self._bank, seed=self._seed, number=number)


def draw_bank(
    stages: Sequence[ProblemStage], place: Place, bank: BankConfig, *, seed: int, number: int
) -> ScenarioBank[ScenarioArrays]:
    """Draw the scenarios of a place.

    Args:
        stages: All.
        place: Between them.
        bank: Its sizes.
        seed: Of all scenarios of the curriculum.
        number: How many places were entered before.
    """
    source: ScenarioSource[ScenarioArrays] = stages[place.stage].source
    if place.difficulty:
        ahead = stages[place.stage + 1].source
        source = MixedSource((source, ahead), (1 - place.difficulty, place.difficulty))
    return ScenarioBank(source, bank, derive_seed(seed, "curriculum/bank", number))


def episode_seed(seed: int, number: int) -> int:
    """Return the seed of the choice among a place's scenarios.

    Args:
        seed: Of all scenarios of the curriculum.
        number: How many places were entered before.
    """
    return derive_seed(seed, "curriculum/episodes", number)
