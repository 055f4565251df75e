"""Planners of gym-invmgmt's networks beside the published table, in the package itself.

OMP_NUM_THREADS=1 python -m benchmarks.network_inventory --train --evaluate
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.network_training import Recipe, choose

RECIPES = (
    Recipe(topology="base", informed=True, updates=800, wide_share=0.3),
    Recipe(topology="serial", informed=True, updates=600, wide_share=0.3),
    Recipe(topology="base", informed=False, updates=500),
    Recipe(topology="serial", informed=False, updates=400),
    Recipe(topology="base", informed=True, updates=220, num_envs=256, algorithm="ppo"),
    Recipe(topology="serial", informed=True, updates=180, num_envs=256, algorithm="ppo"),
)


def train_once(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Train a planner and keep it with what was written down of the choice; once.

    Args:
        recipe: How.
        folder: Where both are kept; a planner that is there is not trained again.
    """
    path, note = (folder / f"{recipe.name}.{end}" for end in ("safetensors", "json"))
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        artifact, row = choose(recipe)
        path.write_bytes(artifact.to_bytes())
        note.write_text(json.dumps({**row, "artifact_sha256": artifact.sha256}, indent=1) + "\n")
    found: dict[str, Any] = json.loads(note.read_text())
    print(recipe.name, found["cpu_seconds"], found["development_profit"], flush=True)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Train.

    Args:
        arguments: Of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("var/network_inventory"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for recipe in RECIPES:
        train_once(recipe, options.runs)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
