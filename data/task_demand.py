"""Episodes of constrained allocation: costs and priorities of a world, demands of an episode."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from data.scenario import Array, ScenarioArrays, ScenarioError
from utils.errors import ConfigError
from utils.seeding import make_generator


@dataclass(frozen=True, kw_only=True)
class TaskScenarios(ScenarioArrays):
    """Episodes in which tasks share resources; nothing changes within an episode."""

    cost: Array
    """`[episode, resource]`: of a unit allocated."""
    priority: Array
    """`[episode, task]`: value of a task whose demand is met."""
    availability: Array
    """`[episode, resource]`: units there are."""
    demand: Array
    """`[episode, task]`: units a task needs, of any resource."""
    task_active: Array
    """`[episode, task]`: one where the task exists, else zero."""
    resource_active: Array
    """`[episode, resource]`: one where the resource exists, else zero."""

    def __post_init__(self) -> None:
        """Check shapes and values once, where scenarios enter."""
        for left, right in (("cost", "availability"), ("priority", "demand")):
            if getattr(self, left).shape != getattr(self, right).shape:
                raise ScenarioError(f"{left} and {right} differ in shape; give one value each")
        for field in fields(self):
            values = getattr(self, field.name)
            if not np.isfinite(values).all() or (values < 0).any():
                raise ScenarioError(
                    f"{field.name} holds negative or non-finite values; drop those episodes"
                )
        if (self.demand[self.task_active > 0] == 0).any():
            raise ScenarioError("demand of a task that exists is 0; switch it off by task_active")
        for name, active in (("task", self.task_active), ("resource", self.resource_active)):
            if not np.isin(active, (0, 1)).all() or (active.sum(-1) < 1).any():
                raise ScenarioError(f"{name}_active must hold 0 and 1, and a 1 in every episode")


@dataclass(frozen=True, kw_only=True)
class TaskLaws:
    """How worlds and episodes are drawn; each pair is a lowest and a highest value."""

    num_resources: int = 3
    num_tasks: int = 5
    cost: tuple[float, float] = (0.1, 1.0)
    priority: tuple[float, float] = (0.5, 1.0)
    availability: tuple[float, float] = (0.5, 1.0)
    demand: tuple[float, float] = (0.3, 0.8)
    active_resources: int | None = None
    """The first so many exist; None is all."""
    active_tasks: int | None = None

    def __post_init__(self) -> None:
        """Refuse laws that cannot be drawn from."""
        for name in ("cost", "priority", "availability", "demand"):
            low, high = getattr(self, name)
            if not 0 <= low <= high < np.inf or (name == "demand" and low <= 0):
                raise ConfigError(
                    f"{name} = {low, high}: give 0 <= low <= high, demands above 0, all finite"
                )
        for kind in ("resources", "tasks"):
            size, active = getattr(self, f"num_{kind}"), getattr(self, f"active_{kind}")
            if not 1 <= (size if active is None else active) <= size:
                raise ConfigError(f"num_{kind} and active_{kind} need 1 <= active <= num: {self}")


class TaskDemand:
    """A scenario source; costs and priorities are drawn once, the rest for every episode."""

    def __init__(
        self,
        laws: TaskLaws,
        seed: int,
        *,
        cost: tuple[float, ...] | None = None,
        priority: tuple[float, ...] | None = None,
    ) -> None:
        """Draw the world.

        Args:
            laws: How it is drawn.
            seed: Of costs and priorities.
            cost: Costs of a given world; None draws them.
            priority: The same for priorities.

        Raises:
            ConfigError: The number of costs or priorities is not that of the laws.
        """
        self._laws = laws
        generator = make_generator(seed, "task world")
        self._cost = _choose(cost, laws.cost, laws.num_resources, generator)
        self._priority = _choose(priority, laws.priority, laws.num_tasks, generator)

    def draw(self, num_episodes: int, generator: np.random.Generator) -> TaskScenarios:
        """Draw episodes of this world.

        Args:
            num_episodes: How many.
            generator: The only source of chance.
        """
        laws = self._laws

        def exist(size: int, count: int | None) -> Array:
            active = np.arange(size) < (size if count is None else count)
            return np.tile(active.astype(np.float32), (num_episodes, 1))

        def drawn(law: tuple[float, float], active: Array) -> Array:
            values: Array = generator.uniform(*law, active.shape).astype(np.float32)
            return values * active

        resources = exist(laws.num_resources, laws.active_resources)
        tasks = exist(laws.num_tasks, laws.active_tasks)
        return TaskScenarios(
            cost=self._cost * resources,
            priority=self._priority * tasks,
            availability=drawn(laws.availability, resources),
            demand=drawn(laws.demand, tasks),
            task_active=tasks,
            resource_active=resources,
        )


def _choose(
    given: tuple[float, ...] | None,
    law: tuple[float, float],
    size: int,
    generator: np.random.Generator,
) -> Array:
    if given is None:
        return generator.uniform(*law, size).astype(np.float32)
    if len(given) != size:
        raise ConfigError(f"{len(given)} costs or priorities were given for {size}; give one each")
    return np.asarray(given, np.float32)
