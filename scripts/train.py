"""`python scripts/train.py`: one training run, or a sweep of them, from `name=value` words."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import anyio  # noqa: E402

from orchestration.training_attempt import open_shards_on_ray  # noqa: E402
from rl.training.run_settings import as_typed, idle_settings  # noqa: E402
from rl.training.run_words import PRESETS, read_words  # noqa: E402
from rl.training.settings_page import settings_page  # noqa: E402
from rl.training.settling import settle  # noqa: E402
from rl.training.training_config import TrainingConfig  # noqa: E402
from rl.training.training_pipeline import RLTrainingPipeline, TrainingResults  # noqa: E402
from utils.config import to_json  # noqa: E402
from utils.errors import QuartermasterError  # noqa: E402
from utils.overrides import expand_sweeps, to_yaml  # noqa: E402
from utils.persistence.files import write_atomically  # noqa: E402

USER_ERROR, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what the words say.

    Args:
        arguments: As typed; those of the process if absent.
    """
    options = _parser().parse_intermixed_args(arguments)
    try:
        runs = expand_sweeps(options.words, is_multirun=options.multirun)
        configs = [read_words(words) for words in runs]
        for number, config in enumerate(configs):
            if options.print_config:
                print(to_yaml(as_typed(settle(config))), end="")
                continue
            if options.multirun:
                print(f"[{number + 1}/{len(runs)}] {' '.join(runs[number])}", flush=True)
            _train(config, options.output_dir)
    except QuartermasterError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("stopped; what was saved until now stays", file=sys.stderr)
        return INTERRUPTED
    return 0


def _train(config: TrainingConfig, output_dir: Path) -> None:
    for family in idle_settings(config):
        note = f"note: algorithm={config.algorithm} does not look at algorithm.{family}.*"
        print(note, file=sys.stderr)
    pipeline = RLTrainingPipeline(config, output_dir=output_dir, ray_lines=open_shards_on_ray)
    results = anyio.run(pipeline.train)
    folder = output_dir / "runs" / results["run_id"]
    write_atomically(folder / "config.json", json.dumps(to_json(config), indent=2).encode())
    print(_summary(config, results, folder), flush=True)


def _summary(config: TrainingConfig, results: TrainingResults, folder: Path) -> str:
    scores = results["final_performance"].items()
    figures = ", ".join(f"{name} {value:.4g}" for name, value in scores)
    what = f"{config.environment}, {config.algorithm}"
    return (
        f"{what}: {results['total_steps']:,} env steps; {figures}\n"
        f"  {folder}\n"
        f"  python scripts/evaluate.py --agent-path {folder} --num-episodes 100"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python scripts/train.py",
        usage="%(prog)s [-m] [--print-config] [--output-dir FOLDER] [WORD ...]",
        description="Train an agent. A WORD is group=option or name=value.",
        epilog=settings_page(PRESETS.options()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="see below")
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="train every combination of swept values"
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print all settings as YAML, train nothing"
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("var"), help="of database and runs (default var)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
