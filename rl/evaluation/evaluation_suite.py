"""Everything that is asked of trained agents before they are trusted, in one call.

Everybody plays the same episodes with the same luck. Nothing that learns is changed: worlds are
built anew, policies do not explore, and those with a memory get theirs back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rl.evaluation.contest import Contest, Numbers, ScenarioSet, Scores
from rl.evaluation.disturbances import SightConfig, disturb
from rl.evaluation.entrants import Entrant, play_runs
from rl.evaluation.episode_statistics import estimate_mean
from rl.evaluation.generalisation import GridCell
from rl.evaluation.judging import JudgingConfig, Played, judge_set, kpis_of, watch
from rl.evaluation.opponents import Opponents, judge_seats, seat_players
from rl.evaluation.players import Player, undisturbed
from rl.evaluation.set_results import SetResult
from rl.evaluation.suite_results import (
    Change,
    EvaluationReport,
    GridResult,
    OpponentResult,
    SightResult,
)
from utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SuiteConfig:
    """What counts as what, and how sight is disturbed."""

    judging: JudgingConfig = field(default_factory=JudgingConfig)
    sight: SightConfig | None = field(default_factory=SightConfig)
    """None leaves it clear."""


class RLEvaluationSuite:
    """Judges entrants in one world."""

    def __init__(
        self, contest: Contest, entrants: Sequence[Entrant], config: SuiteConfig | None = None
    ) -> None:
        """Keep who is judged where.

        Args:
            contest: The world.
            entrants: At least one, names different.
            config: What counts as what; the defaults if absent.

        Raises:
            ConfigError: There is nobody, or two share a name.
        """
        names = [entrant.name for entrant in entrants]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"give at least one entrant, and every one another name: {names}")
        self.contest = contest
        self.entrants = tuple(entrants)
        self.config = config or SuiteConfig()

    def run(
        self,
        standard: ScenarioSet,
        *,
        stress: Sequence[ScenarioSet] = (),
        grid: Sequence[GridCell] = (),
        opponents: Sequence[Opponents] = (),
    ) -> EvaluationReport:
        """Judge everybody on everything.

        Args:
            standard: Held-out episodes; sight is disturbed and opponents are met on
                these too.
            stress: Other sets of the same shapes, such as crises and failures.
            grid: The standard set in trouble, see `generalisation_grid`.
            opponents: In worlds of several agents.

        Raises:
            ConfigError: A set, a seat or a figure does not fit the world.
            StatisticsError: A score is not finite.
        """
        played = self._play(standard)
        before = {name: kpis_of(runs) for name, runs in played.items()}
        return EvaluationReport(
            kpi=self.contest.kpi,
            level=self.config.judging.resampling.level,
            standard=self._judge(standard, played),
            stress=tuple(self.judge(episodes) for episodes in stress),
            grid=tuple(self._judge_cell(cell, standard, before) for cell in grid),
            sight=self._disturb(standard, before),
            opponents=tuple(self.judge_against(one, standard) for one in opponents),
        )

    def judge(self, episodes: ScenarioSet) -> SetResult:
        """Judge everybody on one set.

        Args:
            episodes: What is played.

        Raises:
            ConfigError: A figure or limit does not fit the world.
            StatisticsError: A score is not finite.
        """
        return self._judge(episodes, self._play(episodes))

    def judge_against(self, opponents: Opponents, episodes: ScenarioSet) -> OpponentResult:
        """Judge everybody on some seats, the other seats being played by somebody else.

        Args:
            opponents: Who plays the other seats, with the first run.
            episodes: What is played.

        Raises:
            ConfigError: Seats do not fit the world, or an opponent is the policy that it meets.
        """
        entrant, seats = opponents.entrant, opponents.judged_seats
        for judged in self.entrants:
            if any(policy is other for policy in judged.policies for other in entrant.policies):
                raise ConfigError(
                    f"{judged.name} would meet itself; load its opponent's policy a second time"
                )
        contest = watch(judge_seats(self.contest, seats))
        played = {
            judged.name: tuple(
                _play_seats(contest, run, opponents, episodes) for run in judged.runs()
            )
            for judged in self.entrants
        }
        return OpponentResult(
            opponent=entrant.name, judged_seats=seats, result=self._judge(episodes, played)
        )

    def _play(self, episodes: ScenarioSet) -> Played:
        contest = watch(self.contest)
        return {one.name: play_runs(contest, one, episodes) for one in self.entrants}

    def _disturb(
        self, standard: ScenarioSet, before: dict[str, Numbers]
    ) -> tuple[SightResult, ...]:
        if self.config.sight is None:
            return ()
        return tuple(
            result
            for entrant in self.entrants
            if entrant.policies
            for result in disturb(
                self.contest,
                entrant,
                standard,
                before=before[entrant.name],
                config=self.config.sight,
                resampling=self.config.judging.resampling,
            )
        )

    def _judge(self, episodes: ScenarioSet, played: Played) -> SetResult:
        return judge_set(episodes, self.entrants, played, self.config.judging)

    def _judge_cell(
        self, cell: GridCell, standard: ScenarioSet, before: dict[str, Numbers]
    ) -> GridResult:
        if cell.episodes.scenarios.num_episodes != standard.scenarios.num_episodes:
            raise ConfigError(f"{cell.episodes.name} is not {standard.name} in trouble")
        played = self._play(cell.episodes)
        resampling = self.config.judging.resampling
        changes = tuple(
            Change(
                name=name,
                difference=estimate_mean(kpis_of(runs) - before[name], standard.blocks, resampling),
            )
            for name, runs in played.items()
        )
        return GridResult(
            stress=cell.stress,
            intensity=cell.intensity,
            result=self._judge(cell.episodes, played),
            changes=changes,
        )


def _play_seats(
    contest: Contest, judged: Entrant, opponents: Opponents, episodes: ScenarioSet
) -> Scores:
    """Let one run meet its opponent, which every run meets with the same luck and no memory."""
    others = opponents.entrant.runs()[0]

    def play(player: Player) -> Scores:
        (scores,) = play_runs(
            contest,
            judged,
            episodes,
            wrap_player=lambda own: seat_players(own, player, opponents.judged_seats),
        )
        return scores

    if others.players:
        return play(others.players[0]())
    (policy,) = others.policies
    with undisturbed(policy, episodes.scenarios.num_episodes):
        return play(contest.policy_player(policy))
