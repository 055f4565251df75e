"""`python scripts/evaluate.py`: how a trained agent does on held-out episodes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from rl.environments.rendering import draw_episodes  # noqa: E402
from rl.evaluation.contest import ScenarioSet  # noqa: E402
from rl.evaluation.players import undisturbed  # noqa: E402
from rl.evaluation.recorded_play import RecordedPlay, record_play, summarise_play  # noqa: E402
from rl.training.problem import Problem  # noqa: E402
from rl.training.problems import make_problem  # noqa: E402
from rl.training.trained_agent import load_agent, load_config  # noqa: E402
from utils.errors import ConfigError, QuartermasterError  # noqa: E402
from utils.persistence.files import make_folder, write_atomically  # noqa: E402

USER_ERROR = 2
EXAMPLES = """\
examples:
  python scripts/evaluate.py --agent-path var/runs/RUN --num-episodes 100
  python scripts/evaluate.py --agent-path var/runs/RUN/checkpoints --config-path config.json \\
      --output-dir var/evaluations/mine --render --save-trajectories

Writes evaluation.json (the printed figures), with --render episode.png (the first episode), with
--save-trajectories trajectories.npz: observation, action, reward, cost and violation of every step,
[episode, time, ...]. Rewards are an episode's mean over agents; an interval is Student's at 95 %.
success_rate counts rewards above 0, constraint_satisfaction episodes without any violation.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate the agent that the arguments name.

    Args:
        arguments: As typed; those of the process if absent.
    """
    options = _parser().parse_args(arguments)
    try:
        print(json.dumps(evaluate(options), indent=2))
    except QuartermasterError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR
    return 0


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Play, sum up and write files.

    Args:
        options: As parsed.

    Raises:
        ConfigError: A path holds nothing of use, or there are not so many episodes.
    """
    agent_path: Path = options.agent_path
    run = agent_path.parent if agent_path.name == "checkpoints" else agent_path
    run = run.parent.parent if agent_path.is_file() else run
    config = load_config(options.config_path or run / "config.json")
    problem = make_problem(config)
    episodes = _episodes(problem, options.num_episodes)
    agent = load_agent(agent_path, config, problem)
    folder: Path = options.output_dir or run / "evaluation"
    make_folder(folder)
    with undisturbed(agent, episodes.scenarios.num_episodes):
        play = record_play(problem.contest, problem.contest.policy_player(agent), episodes)
    figures = summarise_play(play)
    write_atomically(folder / "evaluation.json", json.dumps(figures, indent=2).encode())
    if options.render:
        draw_episodes({config.algorithm: play.history}, problem.title).savefig(
            folder / "episode.png"
        )
    if options.save_trajectories:
        _save(folder / "trajectories.npz", play)
    print(
        f"wrote {', '.join(sorted(path.name for path in folder.iterdir()))} to {folder}",
        file=sys.stderr,
    )
    return figures


def _episodes(problem: Problem, count: int) -> ScenarioSet:
    there_are = problem.held_out.scenarios.num_episodes
    if not 1 <= count <= there_are:
        raise ConfigError(
            f"num_episodes={count}: {problem.name} has {there_are} held-out episodes, choose 1 to "
            f"{there_are}"
        )
    return problem.held_out.first(count)


def _save(path: Path, play: RecordedPlay) -> None:
    names = ("observation", "action", "reward", "cost", "violation")
    with path.open("wb") as file:
        np.savez_compressed(file, **{name: getattr(play, name) for name in names})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python scripts/evaluate.py",
        description="Let a trained agent play held-out episodes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--agent-path", type=Path, required=True, help="folder of a run, or one checkpoint"
    )
    parser.add_argument("--config-path", type=Path, help="default: config.json of the run")
    parser.add_argument("--output-dir", type=Path, help="default: evaluation/ of the run")
    parser.add_argument("--num-episodes", type=int, default=100)
    parser.add_argument("--render", action="store_true", help="draw the first episode")
    parser.add_argument("--save-trajectories", action="store_true", help="keep every step")
    return parser


if __name__ == "__main__":
    sys.exit(main())
