"""Who is judged, and how a run of theirs plays without changing anything that learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rl.algorithms.base_algorithm import Policy
from rl.evaluation.contest import Contest, ScenarioSet, Scores
from rl.evaluation.players import Player, undisturbed
from utils.errors import ConfigError

Kind = Literal["random", "expert", "agent"]
WrapPolicy = Callable[[Policy], Policy]
WrapPlayer = Callable[[Player], Player]


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """Somebody who is judged, trained once or with several seeds; give policies or players."""

    name: str
    kind: Kind
    policies: tuple[Policy, ...] = ()
    """One per training seed."""
    players: tuple[Callable[[], Player], ...] = ()
    """Makers, so that every set is met by a player that remembers nothing of the last one."""

    def __post_init__(self) -> None:
        """Refuse nobody, and both.

        Raises:
            ConfigError: There are neither policies nor players, or both.
        """
        if bool(self.policies) == bool(self.players):
            raise ConfigError(f"{self.name}: give policies or players, at least one, not both")

    @property
    def num_runs(self) -> int:
        """Policies or players."""
        return len(self.policies) or len(self.players)

    def runs(self) -> tuple[Entrant, ...]:
        """Return every run as an entrant by itself."""
        return tuple(
            Entrant(name=self.name, kind=self.kind, policies=(policy,)) for policy in self.policies
        ) + tuple(Entrant(name=self.name, kind=self.kind, players=(make,)) for make in self.players)


def play_runs(
    contest: Contest,
    entrant: Entrant,
    episodes: ScenarioSet,
    *,
    wrap_policy: WrapPolicy | None = None,
    wrap_player: WrapPlayer | None = None,
) -> tuple[Scores, ...]:
    """Let every run of an entrant play every episode once.

    Args:
        contest: The world.
        entrant: Who plays; policies do not explore and are left as they were.
        episodes: What is played.
        wrap_policy: Changes what a policy sees; only for entrants with policies.
        wrap_player: Changes what is done.

    Raises:
        ConfigError: An entrant without policies should see something else.
    """
    if wrap_policy is not None and not entrant.policies:
        raise ConfigError(f"{entrant.name} has no policy whose observation could be changed")

    def play(player: Player) -> Scores:
        return contest.play(player if wrap_player is None else wrap_player(player), episodes)

    scores = [play(make()) for make in entrant.players]
    for policy in entrant.policies:
        seen = policy if wrap_policy is None else wrap_policy(policy)
        with undisturbed(policy, episodes.scenarios.num_episodes):
            scores.append(play(contest.policy_player(seen)))
    return tuple(scores)
