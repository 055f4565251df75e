"""What a report wants to know and no table keeps: when stages were entered, and the CPU time used.

Kept as `diary.json` beside the checkpoints of a run, so that it survives restarts. It is not part
of the metrics, as those are the same for the same seed and CPU time is not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from rl.training.forwarding_recorder import ForwardingRecorder
from rl.training.recorder import CheckpointRecord, EvaluationRecord, Recorder
from utils.config import from_json, to_json
from utils.persistence.files import read_json, write_atomically

DIARY_FILE: Final = "diary.json"


@dataclass(frozen=True, kw_only=True)
class StageEntry:
    """Training entered a stage."""

    name: str
    env_steps: int


@dataclass(frozen=True, kw_only=True)
class Diary:
    """What is known of a run so far."""

    stages: tuple[StageEntry, ...] = ()
    """In order."""
    cpu_seconds: float = 0.0
    """Of all attempts, up to the last line written; work that a crash lost is counted, too."""


def read_diary(folder: Path) -> Diary | None:
    """Read the diary of a run; None if it kept none.

    Args:
        folder: Of the run.

    Raises:
        ConfigError: The file is damaged.
    """
    path = folder / DIARY_FILE
    if not path.is_file():
        return None
    return read_json(path, partial(from_json, Diary))


class DiaryRecorder(ForwardingRecorder):
    """Passes everything on, and keeps stages and CPU time."""

    def __init__(
        self,
        recorder: Recorder,
        folder: Path,
        *,
        cpu_seconds: Callable[[], float] = time.process_time,
    ) -> None:
        """Read what an earlier attempt kept.

        Args:
            recorder: Hears everything.
            folder: Of the run; made if absent.
            cpu_seconds: Tells what this process has used so far.

        Raises:
            ConfigError: The diary is damaged.
        """
        super().__init__(recorder)
        self._path = folder / DIARY_FILE
        self._cpu_seconds = cpu_seconds
        self._started_at = cpu_seconds()
        self._earlier = read_diary(folder) or Diary()
        self._entered: list[StageEntry] = []
        self._has_rewound = False

    @property
    def diary(self) -> Diary:
        """All that is known by now."""
        used = self._cpu_seconds() - self._started_at
        return Diary(
            stages=in_order([*self._earlier.stages, *self._entered]),
            cpu_seconds=self._earlier.cpu_seconds + used,
        )

    def metrics(self, env_steps: int, values: Mapping[str, float]) -> None:
        """Pass it on; the first ones tell from where an earlier attempt is repeated.

        Args:
            env_steps: Transitions so far.
            values: By name.
        """
        super().metrics(env_steps, values)
        if not self._has_rewound:
            kept = tuple(one for one in self._earlier.stages if one.env_steps < env_steps)
            self._earlier = replace(self._earlier, stages=kept)
            self._has_rewound = True

    def checkpoint_written(self, checkpoint: CheckpointRecord) -> None:
        """Pass it on and write.

        Args:
            checkpoint: Already safe on disk.
        """
        super().checkpoint_written(checkpoint)
        self._write()

    def evaluated(self, evaluation: EvaluationRecord) -> None:
        """Pass it on and write.

        Args:
            evaluation: What was measured.
        """
        super().evaluated(evaluation)
        self._write()

    def stage_changed(self, env_steps: int, stage: str) -> None:
        """Pass it on and write.

        Args:
            env_steps: Transitions so far.
            stage: Its name.
        """
        super().stage_changed(env_steps, stage)
        self._entered.append(StageEntry(name=stage, env_steps=env_steps))
        self._write()

    def _write(self) -> None:
        content = json.dumps(to_json(self.diary), indent=2) + "\n"
        write_atomically(self._path, content.encode())


def in_order(entries: list[StageEntry]) -> tuple[StageEntry, ...]:
    """Sort by step, what was told first before what came later; a repeated stage goes on.

    Args:
        entries: As several attempts told them.
    """
    ordered = sorted(dict.fromkeys(entries), key=lambda one: one.env_steps)
    return tuple(
        one for place, one in enumerate(ordered) if not place or ordered[place - 1].name != one.name
    )
