"""The page that `--help` prints: what can be chosen, what can be set, and how it is written."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rl.domains.constrained_allocation import ConstrainedConfig
from rl.training.run_settings import IN_STEPS, WORLD_FIELDS, typed_names
from rl.training.training_config import TrainingConfig
from utils.config import to_json
from utils.field_docs import field_docs

WIDTH: Final = 96
EXAMPLES: Final = """\
examples:
  python scripts/train.py                                    constrained_allocation by ppo
  python scripts/train.py preset=quick                       the same in seconds
  python scripts/train.py algorithm=ppo env.num_resources=5 env.num_tasks=8 \\
      training.total_timesteps=200000
  python scripts/train.py env=newsvendor algorithm=sac algorithm.sac.learning_rate=1e-3
  python scripts/train.py -m algorithm=ppo,sac training.seed=0,1,2     six runs, one after another
  python scripts/train.py env=trading algorithm=ppo --print-config     every setting there is

values are written as in Hydra: 1e-4, true, null, [64,64], 'two words'; with -m also a,b,c and
range(0,5). A setting of the algorithm changes how the problem would have it learn; the rest stays.
"""


def settings_page(options: Mapping[str, Sequence[str]]) -> str:
    """Return the page.

    Args:
        options: Of every group.
    """
    defaults, docs = to_json(TrainingConfig()), field_docs(TrainingConfig)
    sizes, about_sizes = to_json(ConstrainedConfig()), field_docs(ConstrainedConfig)
    world = [_setting(f"env.{name}", defaults[name], docs.get(name, "")) for name in WORLD_FIELDS]
    world += [
        _setting(f"env.{name}", value, about_sizes.get(name, "")) for name, value in sizes.items()
    ]
    training = [
        _setting(name, defaults[field], docs.get(field, ""))
        for name, field in typed_names("constrained_allocation").items()
        if name.startswith("training.") and field not in IN_STEPS
    ]
    steps = [
        _setting(f"training.{name}", None, f"{field}, given in env steps and rounded up")
        for name, field in IN_STEPS.items()
    ]
    return "\n".join(
        [
            EXAMPLES,
            *_groups(options),
            "\nenv.NAME=VALUE; sizes (from num_resources on) are those of constrained_allocation:",
            *world,
            "\ntraining.NAME=VALUE:",
            *training,
            *steps,
            "\nalgorithm.FAMILY.NAME=VALUE: fields of rl/algorithms/FAMILY_config.py; a FAMILY is",
            "  apg, ppo (also mappo), dqn, sac, td3, maddpg (also matd3), qmix (also vdn)",
        ]
    )


def _groups(options: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield "choices:"
    for group, names in options.items():
        start = f"  {group}="
        yield textwrap.fill(
            " | ".join(names), WIDTH, initial_indent=start, subsequent_indent=" " * len(start)
        )


def _setting(name: str, default: Any, about: str) -> str:
    shown = "" if default is None else f" ({default})"
    line = f"  {name}{shown}: {about}" if about else f"  {name}{shown}"
    return textwrap.fill(line, WIDTH, subsequent_indent=" " * 6)
