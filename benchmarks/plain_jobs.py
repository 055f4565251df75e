"""The job-scheduling world as most people would write it: one copy, Python lists, no tensors.

The peer of `benchmarks.job_scheduling`, which checks that both play the same world.
"""

from __future__ import annotations

import numpy as np

from data.job_arrivals import JobScenarios
from rl.domains.job_scheduling import JobSchedulingConfig


class PlainJobs:
    """One cluster and its queue; jobs are (arrival, length, needs)."""

    def __init__(self, config: JobSchedulingConfig, scenarios: JobScenarios) -> None:
        """Copy the scenarios into lists.

        Args:
            config: The world.
            scenarios: Its episodes.
        """
        self.config = config
        self.length = scenarios.length.tolist()
        self.need = scenarios.need.tolist()
        self.capacity = scenarios.capacity.tolist()
        self.num_episodes = len(self.length)

    def reset(self, episode: int) -> tuple[np.ndarray, list[bool]]:
        """Begin an episode.

        Args:
            episode: Its position.
        """
        config = self.config
        self.episode, self.t, self.now = episode, 0, 0
        self.units = self.capacity[episode]
        self.free = [list(self.units) for _ in range(config.horizon)]
        self.slots: list[tuple[int, int, list[float]] | None] = [None] * config.window
        self.backlog: list[tuple[int, int, list[float]]] = []
        self.running: list[tuple[int, int]] = []
        self._arrive()
        self._find_starts()
        return self.observe(), self.mask()

    def step(self, choice: int) -> tuple[np.ndarray, list[bool], float, bool]:
        """Book a job or let a step pass.

        Args:
            choice: Slot, or the size of the window for none.
        """
        reward = 0.0
        job = self.slots[choice] if choice < self.config.window else None
        start = self.start[choice] if choice < self.config.window else None
        if job is not None and start is not None:
            _, length, need = job
            for step in range(start, start + length):
                self.free[step] = [f - n for f, n in zip(self.free[step], need, strict=True)]
            self.running.append((self.now + start + length, length))
            self.slots[choice] = self.backlog.pop(0) if self.backlog else None
        else:
            self.now += 1
            self.free = [*self.free[1:], list(self.units)]
            self.running = [one for one in self.running if one[0] > self.now]
            self._arrive()
            present = [job[1] for job in (*self.slots, *self.backlog) if job is not None]
            present += [length for _, length in self.running]
            reward = -sum(1.0 / length for length in present)
        self._find_starts()
        self.t += 1
        return self.observe(), self.mask(), reward, self.t == self.config.max_steps

    def mask(self) -> list[bool]:
        """Return which choices do something."""
        return [*(start is not None for start in self.start), True]

    def observe(self) -> np.ndarray:
        """Return the observation of `JobSchedulingDomain`."""
        config = self.config
        scale = [max(units, 1.0) for units in self.units]
        values = [row[r] / one for r, one in enumerate(scale) for row in self.free]
        for job in self.slots:
            if job is None:
                values += [0.0] * (len(scale) + 2)
                continue
            arrival, length, need = job
            waited = self.now - arrival
            values.append(length / config.horizon)
            values += [amount / one for amount, one in zip(need, scale, strict=True)]
            values.append(waited / (waited + config.horizon))
        values.append(min(len(self.backlog) / config.backlog, 1.0))
        values.append(max(config.num_arrival_steps - 1 - self.now, 0) / config.num_arrival_steps)
        return np.array(values, np.float32)

    def _arrive(self) -> None:
        if self.now >= self.config.num_arrival_steps:
            return
        length = self.length[self.episode][self.now]
        if not length:
            return
        job = (self.now, length, self.need[self.episode][self.now])
        if None in self.slots:
            self.slots[self.slots.index(None)] = job
        else:
            self.backlog.append(job)

    def _find_starts(self) -> None:
        self.start = [None if job is None else self._find(job[1], job[2]) for job in self.slots]

    def _find(self, length: int, need: list[float]) -> int | None:
        run = 0
        for step, free in enumerate(self.free):
            run = run + 1 if all(f >= n for f, n in zip(free, need, strict=True)) else 0
            if run == length:
                return step - length + 1
        return None
