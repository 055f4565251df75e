"""Answers what a run asks one of its shards, wherever that is: bytes come, bytes go."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from rl.algorithms.policy_state import TensorDict
from rl.artifacts import Figure
from rl.training.collection_shard import CollectionShard, ShardOrder, mark_data
from rl.training.curriculum import Place
from rl.training.curriculum_world import ProblemStage
from rl.training.freed_memory import keep_freed_memory
from rl.training.problem import Parameters, Problem
from rl.training.problems import make_problem
from rl.training.shard_messages import pack, unpack
from utils.config import from_json, to_json
from utils.errors import ConfigError, QuartermasterError

Answer = tuple[dict[str, Any], TensorDict]


class ShardService:
    """One shard, made by the first question."""

    def __init__(self, problem: Problem | None = None) -> None:
        """Make nothing yet.

        Args:
            problem: An object of this process; None builds the one that the run names.
        """
        self._problem = problem
        self._shard: CollectionShard | None = None

    def answer(self, question: bytes) -> bytes:
        """Do what is asked; an error is an answer, too.

        Args:
            question: Packed words with `do`, and tensors.
        """
        try:
            words, tensors = unpack(question)
            return pack(*self._carry_out(words, tensors))
        except QuartermasterError as error:
            return pack({"error": type(error).__name__, "message": str(error)}, {})
        except Exception:  # noqa: BLE001  # raised again where the run is
            return pack({"error": "", "message": traceback.format_exc()[-4000:]}, {})

    def _carry_out(self, words: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Answer:
        if words["do"] == "open":
            return self._open(words), {}
        shard = self._shard
        if shard is None:
            raise ConfigError("this shard was not opened")
        match words["do"]:
            case "collect":
                block, summary = shard.collect(tensors)
                return to_json(summary), block
            case "enter":
                shard.enter(from_json(Place, words["place"]), words["number"])
            case "begin_again":
                shard.begin_again(words["seed"])
            case "save":
                return {}, shard.state_dict()
            case "load":
                shard.load_state_dict(tensors)
            case unknown:
                raise ConfigError(f"a shard cannot {unknown}")
        return {}, {}

    def _open(self, words: Mapping[str, Any]) -> dict[str, Any]:
        order = from_json(ShardOrder, words["order"])
        problem = make_problem(order.run) if self._problem is None else self._problem
        experts = {
            name: tuple(from_json(Figure, figure) for figure in figures)
            for name, figures in words["experts"].items()
        }
        self._shard = CollectionShard(order, problem, cache(partial(_stages, problem, experts)))
        return {"data": mark_data(problem)}


def serve_alone() -> ShardService:
    """Return the service of a process that does nothing else, and set the process up for it."""
    torch.set_num_threads(1)
    keep_freed_memory()
    return ShardService()


def _stages(problem: Problem, experts: Mapping[str, Parameters]) -> tuple[ProblemStage, ...]:
    if problem.stages is None:
        raise ConfigError(f"{problem.name} has no stages: train with use_curriculum=false")
    return problem.stages(problem, experts)
