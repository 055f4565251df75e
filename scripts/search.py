"""`python scripts/search.py`: which settings learn best, found by Optuna, trial by trial."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import anyio  # noqa: E402

from orchestration.app import Settings, open_application, run_with  # noqa: E402
from orchestration.jobs import Desired, JobState  # noqa: E402
from orchestration.orchestrator import Orchestrator  # noqa: E402
from rl.training.hyperparameter_search import (  # noqa: E402
    HyperparameterSearch,
    SearchConfig,
    open_search,
    run_search,
)
from rl.training.parallel_search import JobStatus, run_parallel  # noqa: E402
from rl.training.run_words import read_words  # noqa: E402
from rl.training.search_report import write_search_report  # noqa: E402
from rl.training.search_space import MakeConfig, search_space  # noqa: E402
from rl.training.training_config import TrainingConfig  # noqa: E402
from rl.training.trial_training import train_trial  # noqa: E402
from utils.config import to_json  # noqa: E402
from utils.errors import QuartermasterError  # noqa: E402
from utils.overrides import split_axes  # noqa: E402

USER_ERROR, INTERRUPTED = 2, 130
EXAMPLES = """\
what to search over, beside settings as for scripts/train.py:
  algorithm.ppo.learning_rate='tag(log,interval(1e-5,1e-2))'     between, equal factors alike
  algorithm.ppo.entropy_coeff='interval(0,0.05)'                 between
  algorithm.ppo.ppo_epochs='int(interval(1,8))'                  whole numbers
  algorithm.ppo.activation=tanh,relu                             one of these
  'algorithm.ppo.hidden_dims=[32,32],[64,64]'                    one of these

examples:
  python scripts/search.py --study first --num-trials 20 env=newsvendor algorithm=ppo \\
      training.total_timesteps=20000 algorithm.ppo.learning_rate='tag(log,interval(1e-5,1e-1))'
  python scripts/search.py --study first --num-trials 40 ...     the same words: goes on to 40
  python scripts/search.py --study second --parallel 2 ...       trials are jobs, two at once

Everything is kept in FOLDER/searches/STUDY: a search that was stopped goes on with the same words.
With --parallel trials are jobs of the orchestrator and runs of the experiment STUDY, which
`python -m orchestration runs --experiment STUDY` lists.
"""


class OrchestratorJobs:
    """The orchestrator as a search sees it."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        """Keep the way to it.

        Args:
            orchestrator: Takes the jobs.
        """
        self._orchestrator = orchestrator

    async def submit(self, config: TrainingConfig, *, key: str) -> str:
        """Queue a run, or find the unfinished one of this key and let it go on.

        Args:
            config: What to train.
            key: Of its settings.
        """
        job = await self._orchestrator.submit_training(config, dedupe_key=key)
        if job.desired is Desired.PAUSE:
            job = await self._orchestrator.resume(job.id)
        return job.id

    async def status(self, job_id: str) -> JobStatus:
        """Return the scores so far and how it ended.

        Args:
            job_id: Which.
        """
        job = await self._orchestrator.job(job_id)
        run = await self._orchestrator.run_of(job_id)
        scores = tuple(
            math.nan if (score := one.scores["kpi"]) is None else float(score)
            for one in (() if run is None else run.evaluations)
            if one.env_steps > 0
        )
        if not job.state.is_terminal:
            return JobStatus(scores=scores, has_ended=False)
        if job.state is not JobState.SUCCEEDED:
            return JobStatus(scores=scores, has_ended=True, error=job.error or job.state.value)
        best = None if job.result is None else job.result["best_score"]
        return JobStatus(scores=scores, has_ended=True, best_score=best)

    async def cancel(self, job_id: str) -> None:
        """Stop it for good.

        Args:
            job_id: Which.
        """
        await self._orchestrator.cancel(job_id)


def main(arguments: Sequence[str] | None = None) -> int:
    """Search as the arguments say.

    Args:
        arguments: As typed; those of the process if absent.
    """
    options = _parser().parse_intermixed_args(arguments)
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = shlex.join(["python", "scripts/search.py", *given])
    try:
        return _search(options, command)
    except QuartermasterError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return INTERRUPTED


def _search(options: argparse.Namespace, command: str) -> int:
    config = SearchConfig(
        study=options.study,
        num_trials=options.num_trials,
        sampler=options.sampler,
        prune=not options.no_prune,
        seed=options.seed,
    )
    axes, words = split_axes(options.words)
    shared, make = search_space(read_words(words), axes, options.study)
    folder = options.output_dir / "searches" / options.study
    with open_search(config, axes, folder) as search:
        search.require_same(to_json(shared))
        try:
            if options.parallel == 0:
                run_search(search, partial(train_trial, make, folder))
            else:
                anyio.run(_in_parallel, search, make, options)
        finally:
            report = write_search_report(search, folder, command)
        print(report)
        return INTERRUPTED if search.has_more() else 0


async def _in_parallel(
    search: HyperparameterSearch, make: MakeConfig, options: argparse.Namespace
) -> None:
    settings = Settings(var=options.output_dir, parallel_jobs=options.parallel)
    async with open_application(settings, with_worker=True) as application:
        jobs = OrchestratorJobs(application.orchestrator)
        work = partial(run_parallel, search, make, jobs, num_parallel=options.parallel)
        await run_with(application, work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python scripts/search.py",
        description="Search for settings that learn best.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="what to set and to search")
    parser.add_argument("--study", required=True, help="name; the same name goes on")
    parser.add_argument("--num-trials", type=int, default=20)
    parser.add_argument(
        "--parallel", type=int, default=0, metavar="N", help="trials as jobs, N at once; 0: in here"
    )
    parser.add_argument(
        "--sampler", default="auto", help="auto (gp up to 8 settings, else tpe), gp, tpe, random"
    )
    parser.add_argument("--no-prune", action="store_true", help="let every trial run to its end")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    parser.add_argument("--output-dir", type=Path, default=Path("var"), metavar="FOLDER")
    return parser


if __name__ == "__main__":
    sys.exit(main())
