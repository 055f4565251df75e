"""What all serving peers do with a request: our domain's guards around a forward pass of torch.

Reads and words requests by the same code as our agents (on the path by PYTHONPATH), checks the
validated ranges and that numbers are finite, projects onto the capacities, and keeps a record of
each decision in SQLite, written behind by a thread.
"""

from __future__ import annotations

import hashlib
import queue
import sqlite3
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ai_agents.allocation_domain import AllocationDecisions
from ai_agents.allocation_schema import AllocationDecision, AllocationRequest
from ai_agents.allocation_translation import stack_views
from ai_agents.base_agent import Header
from rl.artifacts import PolicyArtifact
from rl.deployment.guardrails import FallbackReason
from rl.domains.resource_allocation import AllocationDomain

COLUMNS = "id TEXT PRIMARY KEY, request TEXT, agent TEXT, version TEXT, sha256 TEXT, seconds REAL"
WAIT_SECONDS = 0.1


class Records:
    """Decisions on their way to the disk."""

    def __init__(self, path: Path) -> None:
        """Begin to write.

        Args:
            path: Of the database.
        """
        self._waiting: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        threading.Thread(target=self._write, args=(path,), daemon=True).start()

    def add(self, *values: str | float) -> None:
        """Keep a record; waits for nothing.

        Args:
            values: One per column.
        """
        self._waiting.put(values)

    def _write(self, path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS decision ({COLUMNS}, outcome TEXT, at REAL)"
        )
        while True:
            rows = [self._waiting.get()]
            time.sleep(WAIT_SECONDS)
            while not self._waiting.empty():
                rows.append(self._waiting.get())
            with connection:
                connection.executemany("INSERT INTO decision VALUES (?,?,?,?,?,?,?,?)", rows)


class Decider:
    """Answers requests by a torch policy, or by the expert where it must not."""

    def __init__(self, artifact_path: Path, records_path: Path) -> None:
        """Load the policy.

        Args:
            artifact_path: Of the policy.
            records_path: Of the database of records.
        """
        torch.set_num_threads(1)
        artifact = PolicyArtifact.from_bytes(artifact_path.read_bytes())
        self._version = artifact.sha256[:12]
        self._words = AllocationDecisions(artifact)
        self._domain = AllocationDomain(self._words.config)
        self._network = _as_module(artifact)
        mean, std, self._clip = artifact.normalizer
        self._mean, self._std = torch.from_numpy(mean), torch.from_numpy(std)
        self._low, self._high = artifact.action.low, artifact.action.high
        self._records = Records(records_path)

    def decide(self, request: AllocationRequest) -> AllocationDecision:
        """Answer one request.

        Args:
            request: Checked.
        """
        started, name = time.perf_counter(), str(uuid.uuid4())
        situation = self._words.read(request)
        action, reason = None, None
        if situation.outside:
            reason = FallbackReason.OUTSIDE_VALIDATED_RANGE
        else:
            action = self._plan(situation)
            reason = None if np.isfinite(action).all() else FallbackReason.NOT_FINITE
        if reason is not None:
            action = self._words.ask_expert([situation])[0]
        header = Header(
            agent="benchmark",
            version=self._version,
            request_id=name,
            decision_id=name,
            decided_by="policy" if reason is None else self._words.expert_name,
            fallback_used=reason is not None,
            fallback_reason=reason,
            duration_seconds=time.perf_counter() - started,
            warnings=list(situation.warnings),
        )
        decision = self._words.decide(situation, action, header=header, expert=None)
        sha256 = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
        seconds = time.perf_counter() - started
        outcome = "decision" if reason is None else "fallback"
        where = (name, name, "benchmark", self._version, sha256)
        self._records.add(*where, seconds, outcome, time.time())  # noqa: TID251
        return decision

    def _plan(self, situation: Any) -> np.ndarray:
        view = stack_views([situation.view])
        observation = torch.from_numpy(np.asarray(self._domain.encode(view), np.float32))
        with torch.inference_mode():
            x = ((observation - self._mean) / self._std).clamp(-self._clip, self._clip)
            chosen = self._network(x).clamp(self._low, self._high).numpy()
        return np.asarray(self._domain.cover(chosen, view), np.float32)[0]


def _as_module(artifact: PolicyArtifact) -> nn.Module:
    parts: list[nn.Module] = []
    for weight, bias in artifact.layers:
        linear = nn.Linear(*weight.shape)
        linear.weight.data = torch.from_numpy(weight.T.copy())
        linear.bias.data = torch.from_numpy(bias.copy())
        parts += [linear, nn.Tanh()]
    return nn.Sequential(*parts[:-1]).eval()
