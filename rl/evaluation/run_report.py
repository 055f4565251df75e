"""What a report shows, as plain values: one run, or several beside each other.

How it looks is the matter of `report_page` (HTML) and `report_text` (Markdown, JSON); where it
comes from is known to `rl.training.run_reporting`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

from utils.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["agent", "expert", "bound", "random", "other"]
WATTS_PER_CORE: Final = 10.0
"""An assumption, not a measurement: a server processor's power divided by its busy cores."""
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A number that is to be written in a way of its own, such as a share in percent."""

    value: float
    text: str


Cell = str | int | float | Amount | None
"""Text, a number (written with four digits), an amount, or nothing."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A figure over environment steps; of several runs, their mean with an interval."""

    name: str
    env_steps: tuple[int, ...]
    """Rising."""
    mean: tuple[float | None, ...]
    """None where the figure was not finite: the line has a gap there."""
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    num_runs: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn.

        Raises:
            ConfigError: Lengths differ, steps do not rise, or a value is not finite.
        """
        parts = [part for part in (self.mean, self.low, self.high) if part is not None]
        if any(len(part) != len(self.env_steps) for part in parts):
            lengths = [len(part) for part in parts]
            raise ConfigError(
                f"curve {self.name!r}: {len(self.env_steps)} steps but {lengths} values; "
                "give every step one value"
            )
        if (self.low is None) != (self.high is None):
            raise ConfigError(f"curve {self.name!r}: give low and high, or neither")
        if any(later <= earlier for earlier, later in pairwise(self.env_steps)):
            raise ConfigError(f"curve {self.name!r}: env_steps do not rise; sort them first")
        if not all(math.isfinite(value) for part in parts for value in part if value is not None):
            raise ConfigError(f"curve {self.name!r}: a value is not finite; write it as None")


@dataclass(frozen=True, kw_only=True)
class Level:
    """A line to compare with, such as the best expert or the bound."""

    name: str
    value: float
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Curves that share their axes."""

    name: str
    """Unique in a report; short."""
    title: str
    unit: str
    """What is on the y axis, such as `KPI`."""
    curves: tuple[Curve, ...]
    levels: tuple[Level, ...] = ()
    note: str = ""
    """What the intervals are, or on what was played."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Training entered a stage."""

    name: str
    env_steps: int


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One line of a table."""

    cells: tuple[Cell, ...]
    kind: Kind = "other"
    """Whose figures these are; agents stand out."""


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """Any table of text and numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[TableRow, ...]
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse ragged tables.

        Raises:
            ConfigError: A row has not one cell for every column.
        """
        for row in self.rows:
            if len(row.cells) != len(self.header):
                raise ConfigError(
                    f"table {self.title!r}: a row of {len(row.cells)} cells under "
                    f"{len(self.header)} headings; give every column one"
                )


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Something drawn, such as an episode."""

    name: str
    """Unique in a report; short."""
    caption: str
    alt: str
    """What is to be seen, for those who cannot see it."""
    png: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what is no PNG file.

        Raises:
            ConfigError: The bytes begin otherwise.
        """
        if not self.png.startswith(PNG_SIGNATURE) or len(self.png) < 24:
            raise ConfigError(f"picture {self.name!r} is no PNG file: draw it again")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as the file says."""
        return int.from_bytes(self.png[16:20]), int.from_bytes(self.png[20:24])


def draw_picture(figure: Figure, *, name: str, caption: str, alt: str) -> Picture:
    """Turn a matplotlib figure into a picture.

    Args:
        figure: Drawn; it is not changed.
        name: Unique in a report.
        caption: Stands below it.
        alt: Says what is to be seen.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return Picture(name=name, caption=caption, alt=alt, png=buffer.getvalue())


@dataclass(frozen=True, kw_only=True)
class Compute:
    """What a run has used; None where nobody recorded it."""

    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    watts_per_core: float = WATTS_PER_CORE
    """Assumed."""

    def __post_init__(self) -> None:
        """Refuse impossible amounts.

        Raises:
            ConfigError: One is negative or not finite.
        """
        for name in ("cpu_seconds", "wall_seconds", "watts_per_core"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name}={value}: give 0 or more")

    @property
    def energy_watt_hours(self) -> float | None:
        """CPU seconds times the assumed watts; machine, memory and cooling are not counted."""
        return None if self.cpu_seconds is None else self.cpu_seconds * self.watts_per_core / 3600


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What is needed to get the same numbers again."""

    seeds: tuple[int, ...]
    commit: str
    """Empty if it was not recorded."""
    versions: Mapping[str, str]
    data_sha256: Mapping[str, str]
    """By name of the scenarios or file; empty if it was not recorded."""
    command: str
    """Reproduces the run in a checkout of the commit."""


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """One run, for people."""

    title: str
    verdict: str
    """In words; says so if there is nothing to judge yet."""
    run_id: str
    state: str
    env_steps: int
    total_env_steps: int | None
    created_at: str
    """ISO 8601, in UTC."""
    error: str | None = None
    evaluation: Chart | None = None
    """The scores during training, with the lines of the best expert and the bound."""
    charts: tuple[Chart, ...] = ()
    """Other figures of training."""
    stages: tuple[Stage, ...] = ()
    """In the order in which they were entered."""
    tables: tuple[ReportTable, ...] = ()
    pictures: tuple[Picture, ...] = ()
    configuration: Mapping[str, Any]
    """The whole of it, plain JSON."""
    compute: Compute
    origin: Origin


@dataclass(frozen=True, kw_only=True)
class ComparisonReport:
    """Several runs, for people."""

    title: str
    verdict: str
    charts: tuple[Chart, ...]
    tables: tuple[ReportTable, ...]
    runs: tuple[RunReport, ...]
    """What each run's own report shows."""
