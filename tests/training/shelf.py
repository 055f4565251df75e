"""A run with everything that a run can have, on SQLite or PostgreSQL."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import torch

from rl.training.checkpointing import CheckpointFolder
from rl.training.experiment_manager import ExperimentManager
from rl.training.run_shelf import RunShelf
from utils.clock import ManualClock
from utils.persistence.model_log import NewArtifact, register_model
from utils.persistence.registry import alias_history, model_alias
from utils.persistence.run_facts import (
    Relation,
    RunArtifact,
    RunData,
    RunParent,
    add_artifacts,
    add_data,
    add_parents,
    change_tags,
)
from utils.persistence.run_log import (
    NewCheckpoint,
    NewRun,
    RunState,
    add_checkpoint,
    add_evaluation,
    add_metrics,
    create_run,
    keep_checkpoints,
    set_run_state,
)

CONFIG = {"environment": "trading", "algorithm": "ppo", "seed": 3, "ppo": {"gamma": 0.99}}
AGENT = "trader"


class Shelf:
    """A database, its folder, and a shelf on both."""

    def __init__(self, database, folder):
        self.database, self.folder = database, folder
        self.clock = ManualClock(datetime.now(UTC))
        self.manager = ExperimentManager(database, clock=self.clock, output_dir=folder)
        self.shelf: RunShelf = self.manager.shelf
        self.places = self.shelf.places

    async def write(self, function, *arguments, **options):
        async with self.database.write() as connection:
            return await function(connection, *arguments, **options)

    async def add_run(self, run_id="r1", *, experiment="first", state=RunState.SUCCEEDED, **config):
        run = NewRun(
            id=run_id,
            experiment=experiment,
            seed=3,
            config={**CONFIG, **config},
            code_commit="c0ffee",
            code_dirty=False,
            versions={"python": "3.11"},
        )
        await self.write(create_run, run, clock=self.clock)
        await self.write(set_run_state, run_id, state, clock=self.clock)

    async def fill(self, run_id="r1", *, policy=b"a policy", parent=None):
        """Give a run metrics, checkpoints, artifacts, a model, a report, tags and lineage."""
        rows = [(step, {"return": step / 7, "loss": -step / 3}) for step in range(50)]
        await self.write(add_metrics, run_id, rows, clock=self.clock)
        await self.write(add_metrics, run_id, [(50, {"loss": float("nan")})], clock=self.clock)
        await self.write(add_evaluation, run_id, 40, {"kpi": 12.5, "low": 1}, clock=self.clock)
        await self.write(change_tags, run_id, add=["baseline", "v1.0"])
        data = [RunData(role="validation", about="20 days", sha256="d" * 64)]
        await self.write(add_data, run_id, data)
        if parent is not None:
            await self.write(_add_parent, run_id, parent)
        folder = CheckpointFolder(self.places.folder(run_id) / "checkpoints")
        records = []
        for step, score in ((10, 3.0), (20, 1.0), (30, 2.0), (40, 2.5)):
            tensors = {"weight": torch.full((40,), float(step)), "run": torch.tensor(len(run_id))}
            record = folder.write(step, tensors, {"run": run_id}, score=score)
            row = NewCheckpoint(
                path=record.path,
                sha256=record.sha256,
                env_steps=step,
                size_bytes=record.size_bytes,
                score=score,
            )
            await self.write(add_checkpoint, run_id, row, clock=self.clock)
            await self.write(keep_checkpoints, run_id, record.kept, fence=0)
            records.append(record)
        report = self.places.folder(run_id) / "report"
        report.mkdir()
        (report / "report.md").write_text(f"# {run_id}")
        await self.add_artifact(run_id, "plot.svg", b"<svg/>")
        self.places.artifacts.put(policy)
        content = NewArtifact(
            sha256=hashlib.sha256(policy).hexdigest(),
            size_bytes=len(policy),
            card={"checkpoint_sha256": records[0].sha256},
            run_id=run_id,
        )
        await self.write(register_model, AGENT, content, clock=self.clock)
        return records

    async def add_artifact(self, run_id, name, content):
        sha256 = self.places.artifacts.put(content)
        one = RunArtifact(name=name, kind="plot", sha256=sha256, size_bytes=len(content))
        await self.write(add_artifacts, run_id, [one], clock=self.clock)
        return sha256

    async def promote(self, version, alias="champion"):
        line = {"agent": AGENT, "alias": alias, "version": version, "changed_at": self.clock.now()}
        async with self.database.write() as connection:
            mine = (model_alias.c.agent == AGENT) & (model_alias.c.alias == alias)
            await connection.execute(model_alias.delete().where(mine))
            await connection.execute(model_alias.insert().values(line))
            await connection.execute(alias_history.insert().values(line))

    def files(self):
        """Return every file in the folder but the database's."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and "sqlite" not in path.name
        }


async def _add_parent(connection, run_id, parent):
    one = RunParent(
        relation=Relation.INIT_FROM, run_id="elsewhere", checkpoint_sha256=parent.sha256
    )
    await add_parents(connection, run_id, [one])
