"""How benchmarks time a step, describe the machine and write down what they found."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np
import torch

RESULTS = Path(__file__).parent / "results"
REPEATS = 5
SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Medians over repeats."""

    name: str
    copies: int
    steps_per_second: float
    steps_per_cpu_second: float


def measure(name: str, copies: int, step: Callable[[], object]) -> Speed:
    """Time a function that steps every copy once.

    Args:
        name: Of what is measured.
        copies: Joint steps per call.
        step: The call.
    """
    for _ in range(5):
        step()
    begun = time.perf_counter()
    step()
    calls = max(10, round(SECONDS / REPEATS / (time.perf_counter() - begun)))
    wall, cpu = [], []
    for _ in range(REPEATS):
        wall_begun, cpu_begun = time.perf_counter(), time.process_time()
        for _ in range(calls):
            step()
        wall.append(calls * copies / (time.perf_counter() - wall_begun))
        cpu.append(calls * copies / (time.process_time() - cpu_begun))
    return Speed(
        name=name,
        copies=copies,
        steps_per_second=round(statistics.median(wall)),
        steps_per_cpu_second=round(statistics.median(cpu)),
    )


def describe_machine() -> dict[str, str | int | float]:
    """Return what a reader needs to place the numbers."""
    run = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(run, capture_output=True, text=True, check=False)  # noqa: S603
    return {
        "commit": commit.stdout.strip(),
        "machine": platform.processor() or platform.machine(),
        "cpus": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "gymnasium": gymnasium.__version__,
        "torch_threads": torch.get_num_threads(),
    }


def write_report(path: Path, report: Mapping[str, object]) -> None:
    """Write a report and where it was made.

    Args:
        path: Of the JSON file.
        report: What was found.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**report, **describe_machine()}, indent=1) + "\n")
    print(f"written: {path}")


def put_table(page: Path, name: str, table: str) -> None:
    """Replace a table of a page; it stands between `<!-- NAME -->` and `<!-- end of NAME -->`.

    Args:
        page: Changed.
        name: Of the table.
        table: As Markdown.
    """
    before, begin, rest = page.read_text().partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    page.write_text(f"{before}{begin}{table}\n{end}{after}")
