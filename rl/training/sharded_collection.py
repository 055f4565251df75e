"""Collects every block in parts at the same time, and learns from all parts as from one.

All shards work with the same weights, and each block is put together in the order of the shards,
whichever was done first. So a run's result depends on how many shards there are, not on where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from data.scenario import ScenarioError
from rl.algorithms.policy_state import (
    StateMismatchError,
    TensorDict,
    take_tensor,
    under_prefix,
    with_prefix,
)
from rl.algorithms.ppo_agent import PPOAgent
from rl.algorithms.rollout_buffer import Rollout
from rl.environments.base_environment import InvalidActionError, StepRecord
from rl.training.collection_shard import ShardOrder, acting_state
from rl.training.curriculum import Place
from rl.training.problem import Parameters
from rl.training.rollout import RolloutSummary
from rl.training.shard_lines import ShardLine
from rl.training.shard_messages import Message, pack, unpack
from utils.config import to_json
from utils.errors import ConfigError, ProcessLostError, QuartermasterError

KNOWN_ERRORS: Mapping[str, type[QuartermasterError]] = {
    error.__name__: error
    for error in (ConfigError, InvalidActionError, ScenarioError, StateMismatchError)
}
"""What a shard may refuse that is raised here as the same."""


class ShardError(QuartermasterError):
    """A shard failed in a way that nobody foresaw."""


class ShardedWorlds:
    """The worlds of a run, in shards; a trainer has it in place of an environment."""

    def __init__(self, lines: Sequence[ShardLine], agent: PPOAgent) -> None:
        """Keep the ways; call `open` before anything else.

        Args:
            lines: To each shard, in order.
            agent: The run's, which learns; told when episodes are left.
        """
        self._lines = tuple(lines)
        self._agent = agent

    def open(
        self, orders: Sequence[ShardOrder], experts: Mapping[str, Parameters], *, data: str
    ) -> None:
        """Have every shard begin its first episodes.

        Args:
            orders: One for each shard.
            experts: What each was tuned to, for the scales of a curriculum.
            data: What `mark_data` says here.

        Raises:
            ConfigError: A shard cannot be, or has other data to train on.
            ProcessLostError: A shard has died.
        """
        tuned = {name: [to_json(one) for one in values] for name, values in experts.items()}
        questions = [
            pack({"do": "open", "order": to_json(order), "experts": tuned}, {}) for order in orders
        ]
        for line, answer in zip(self._lines, self._ask(questions), strict=True):
            if answer.words["data"] != data:
                raise ConfigError(
                    f"the shard in {line.place} has other data to train on than this process: "
                    "put the same traces on every machine, or name their folder in traces"
                )

    def collect(self) -> tuple[Rollout, RolloutSummary]:
        """Let every shard act for one block, and join them in order."""
        answers = self._ask_all({"do": "collect"}, acting_state(self._agent))
        columns = {
            field.name: torch.cat(
                [answer.tensors[field.name] for answer in answers],
                dim=0 if field.name == "memory" else 1,
            ).to(self._agent.device)
            for field in fields(Rollout)
        }
        return Rollout(**columns), join_summaries(
            [RolloutSummary(**answer.words) for answer in answers]
        )

    def enter(self, place: Place, number: int) -> None:
        """Play the scenarios of a place of the curriculum from now on.

        Args:
            place: Of the run's curriculum.
            number: How many places were entered before.

        Raises:
            ConfigError: The world plays no scenarios from a bank.
        """
        self._ask_all({"do": "enter", "place": to_json(place), "number": number})
        self._agent.objective.begin_episodes()

    def begin_again(self, seed: int) -> None:
        """Leave the episodes under way and begin others.

        Args:
            seed: Each shard derives its own from it.
        """
        self._ask_all({"do": "begin_again", "seed": seed})
        self._agent.objective.begin_episodes()

    def state_dict(self) -> TensorDict:
        """Return what every shard needs to go on in the middle of an episode."""
        state = {"shards": torch.tensor(len(self._lines))}
        for index, answer in enumerate(self._ask_all({"do": "save"})):
            state |= with_prefix(f"shard{index}", answer.tensors)
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Have every shard go on from its saved state.

        Args:
            state: What `state_dict` returned, with as many shards.

        Raises:
            StateMismatchError: It was saved with another number of shards, or with other sizes.
            ScenarioError: The scenarios are others.
        """
        held = int(take_tensor(state, "shards"))
        if held != len(self._lines):
            raise StateMismatchError(
                f"the state was saved with {held} shards, here are {len(self._lines)}: go on with "
                f"collection_shards={held}"
            )
        own = [under_prefix(f"shard{index}", state) for index in range(held)]
        self._ask([pack({"do": "load"}, tensors) for tensors in own])

    def close(self) -> None:
        """End all shards."""
        for line in self._lines:
            line.close()

    def _ask_all(
        self, words: Mapping[str, Any], tensors: TensorDict | None = None
    ) -> list[Message]:
        return self._ask([pack(words, tensors or {})] * len(self._lines))

    def _ask(self, questions: Sequence[bytes]) -> list[Message]:
        """Ask all shards at once and return their answers in the order of the shards.

        Every answer is taken before an error is raised, so that none is left for the next question.
        """
        for index, (line, question) in enumerate(zip(self._lines, questions, strict=True)):
            with self._named(index):
                line.send(question)
        answers = []
        for index, line in enumerate(self._lines):
            with self._named(index):
                answers.append(unpack(line.receive()))
        for index, answer in enumerate(answers):
            if "error" in answer.words:
                error, message = answer.words["error"], answer.words["message"]
                known = KNOWN_ERRORS.get(error, ShardError)
                raise known(f"shard {index} in {self._lines[index].place}: {message}")
        return answers

    @contextmanager
    def _named(self, index: int) -> Iterator[None]:
        """Say which shard it was that died, and what then."""
        try:
            yield
        except ProcessLostError as error:
            raise ProcessLostError(
                f"shard {index} of {len(self._lines)} is gone: {error}. The run goes on from its "
                "last checkpoint when it is resumed"
            ) from error


class ShardedLearner:
    """On-policy: collect a block in shards, then update from the whole."""

    def __init__(self, worlds: ShardedWorlds, agent: PPOAgent) -> None:
        """Keep the parts.

        Args:
            worlds: Opened.
            agent: Learns.
        """
        self.env_steps = 0
        self._worlds, self._agent = worlds, agent

    def learn(self, total_env_steps: int) -> tuple[RolloutSummary, TensorDict]:
        """Collect one block and update.

        Args:
            total_env_steps: Where training ends, for settings that decay.
        """
        rollout, summary = self._worlds.collect()
        self.env_steps += summary.env_steps
        progress = min(self.env_steps / total_env_steps, 1.0)
        return summary, self._agent.update(rollout, progress=progress)

    def begin_again(self, seed: int) -> None:
        """Leave the episodes under way and begin others.

        Args:
            seed: Of the new ones.
        """
        self._worlds.begin_again(seed)

    def take_record(self, record: StepRecord) -> None:
        """Do nothing: shards take their own records.

        Args:
            record: Of a world that is not used.
        """

    def state_dict(self) -> TensorDict:
        """Return what is needed beside the worlds' and the agent's own states."""
        return {"env_steps": torch.tensor(self.env_steps)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state.

        Args:
            state: What `state_dict` returned.
        """
        self.env_steps = int(take_tensor(state, "env_steps"))


def join_summaries(parts: Sequence[RolloutSummary]) -> RolloutSummary:
    """Return what happened in all parts of a block together.

    Args:
        parts: In the order of the shards, of equally many copies.
    """
    episodes = sum(part.episodes for part in parts)

    def per_episode(name: str) -> float | None:
        ended = [(getattr(part, name), part.episodes) for part in parts if part.episodes]
        return sum(mean * count for mean, count in ended) / episodes if ended else None

    return RolloutSummary(
        env_steps=sum(part.env_steps for part in parts),
        episodes=episodes,
        mean_return=per_episode("mean_return"),
        mean_length=per_episode("mean_length"),
        metrics={
            name: sum(part.metrics[name] for part in parts) / len(parts)
            for name in parts[0].metrics
        },
    )
