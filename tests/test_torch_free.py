"""What serves, schedules and stores must start without torch: imported in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TORCH_FREE = (
    *("orchestration", "ai_agents", "data", "utils"),
    *("rl/artifacts.py", "rl/precision.py", "rl/domains", "rl/deployment", "rl/monitoring"),
)
HEAVY = ("torch", "gymnasium", "pettingzoo", "scipy", "matplotlib", "ray")
PROGRAM = """
import importlib, json, sys
modules, heavy = json.loads(sys.argv[1])
guilty = {}
for module in modules:
    importlib.import_module(module)
    for name in heavy:
        if name in sys.modules:
            guilty.setdefault(name, module)
print(json.dumps(guilty))
"""


def module_names(place: str) -> list[str]:
    path = ROOT / place
    files = path.rglob("*.py") if path.is_dir() else [path]
    parts = [file.relative_to(ROOT).with_suffix("").parts for file in files if file.exists()]
    # A migration is a script that Alembic runs inside its own context.
    parts = [one for one in parts if "migrations" not in one and one[-1] != "__main__"]
    return sorted(".".join(one[:-1] if one[-1] == "__init__" else one) for one in parts)


def import_in_a_fresh_process(modules: list[str], heavy: tuple[str, ...] = HEAVY) -> dict[str, str]:
    command = [sys.executable, "-c", PROGRAM, json.dumps([modules, heavy])]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_serving_imports_nothing_that_only_training_needs():
    modules = [name for place in TORCH_FREE for name in module_names(place)]
    assert "utils.logs" in modules
    assert "orchestration" in modules
    assert import_in_a_fresh_process(modules) == {}


def test_a_server_starts_without_the_libraries_of_doors_that_nobody_has_come_to():
    modules = ["orchestration.serving", "orchestration.endpoints.mcp_door"]
    assert import_in_a_fresh_process(modules[:1], ("mcp", "mcp_types", "a2a")) == {}
    assert import_in_a_fresh_process(modules, ("mcp",)) == {"mcp": modules[1]}


def test_the_search_would_find_torch():
    guilty = import_in_a_fresh_process(["utils", "rl.environments.base_environment"])
    assert guilty["torch"] == "rl.environments.base_environment"
