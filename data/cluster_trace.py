"""A GPU cluster and the tasks that ask for it, read from the OpenB files or made of the same kinds.

Amounts are milli-cores, MiB and thousandths of a GPU, as in the files of the Alibaba trace (Weng et
al., ATC 2023); files are read from a folder and never copied.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.traces import TraceError
from utils.errors import ConfigError
from utils.seeding import make_generator

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

NODE_FILE = "openb_node_list_gpu_node.csv"
TASK_FILE = "openb_pod_list_default.csv"
SOURCE = "github.com/hkust-adsl/kubernetes-scheduler-simulator data/csv (Apache-2.0)"
NODE_ROWS, TASK_ROWS = 1213, 8152
MAX_DEVICES = 8
"""GPUs of the largest node."""
GPU_MILLI = 1000
LARGEST_NUMBER = 2**24
"""Whole numbers up to here are exact in the float32 of the environment."""
NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
TASK_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec")


@dataclass(frozen=True, kw_only=True)
class NodeTable:
    """The machines, in the order of their names."""

    cpu_milli: Integers
    """`[node]`"""
    memory_mib: Integers
    """`[node]`"""
    num_gpus: Integers
    """`[node]`, 1 to 8."""
    model: Integers
    """`[node]`: position in `models`."""
    models: tuple[str, ...]

    @property
    def gpu_milli(self) -> int:
        """GPU of the whole cluster."""
        return GPU_MILLI * int(self.num_gpus.sum())


@dataclass(frozen=True, kw_only=True)
class TaskTypes:
    """The different requests of a list, in the order of their first arrival."""

    cpu_milli: Integers
    """`[type]`"""
    memory_mib: Integers
    """`[type]`"""
    num_gpus: Integers
    """`[type]`: 0 for tasks without GPU."""
    gpu_milli: Integers
    """`[type]`, per GPU: below 1000 only where one GPU is asked for; 0 without GPU."""
    allowed: Flags
    """`[type, model]`: GPU models the task may run on."""

    @property
    def demand(self) -> Integers:
        """GPU milli of one task, `[type]`."""
        return self.num_gpus * self.gpu_milli


@dataclass(frozen=True, kw_only=True)
class ClusterTrace:
    """A cluster and a list of tasks."""

    nodes: NodeTable
    types: TaskTypes
    tasks: Integers
    """`[task]`: type of each, in the order of the list."""

    @property
    def counts(self) -> Integers:
        """How often each type occurs, `[type]`."""
        return np.bincount(self.tasks, minlength=len(self.types.cpu_milli))


def load_cluster_trace(folder: Path) -> ClusterTrace:
    """Read the nodes with GPUs and the default list of tasks.

    Args:
        folder: Where the files lie.

    Raises:
        TraceError: A file is missing, empty, cut short or malformed. `load_nodes` and `load_tasks`
            read lists of other lengths in the same format.
    """
    nodes = load_nodes(folder / NODE_FILE)
    types, tasks = load_tasks(folder / TASK_FILE, nodes.models)
    for file, held, wanted in (
        (NODE_FILE, len(nodes.model), NODE_ROWS),
        (TASK_FILE, len(tasks), TASK_ROWS),
    ):
        if held != wanted:
            raise TraceError(f"{folder / file} has {held} of {wanted} rows; get it again: {SOURCE}")
    return ClusterTrace(nodes=nodes, types=types, tasks=tasks)


def load_nodes(path: Path) -> NodeTable:
    """Read a list of nodes; those without GPU are left out.

    Args:
        path: The file.

    Raises:
        TraceError: The file is missing, empty, cut short or malformed, or no node has a GPU.
    """
    rows = _read_rows(path, NODE_COLUMNS)
    numbers = {name: _whole_numbers(path, rows, name) for name in NODE_COLUMNS[1:4]}
    names = np.asarray([row["sn"] for row in rows])
    if len(np.unique(names)) != len(names):
        raise TraceError(f"{path} lists a node twice; get it again: {SOURCE}")
    has_gpu = numbers["gpu"] > 0
    if not has_gpu.any() or (numbers["gpu"] > MAX_DEVICES).any():
        raise TraceError(f"{path}: the column gpu must hold 0 to {MAX_DEVICES}, and not only 0")
    if (numbers["cpu_milli"] == 0).any() or (numbers["memory_mib"] == 0).any():
        raise TraceError(f"{path} holds a node without CPU or memory; drop it")
    kept = [number for number in np.argsort(names) if has_gpu[number]]
    of_node = [rows[number]["model"] for number in kept]
    if not all(of_node):
        raise TraceError(f"{path} holds a node with GPUs but without a model; name it")
    models = tuple(sorted(set(of_node)))
    return NodeTable(
        cpu_milli=numbers["cpu_milli"][kept],
        memory_mib=numbers["memory_mib"][kept],
        num_gpus=numbers["gpu"][kept],
        model=np.asarray([models.index(name) for name in of_node]),
        models=models,
    )


def load_tasks(path: Path, models: tuple[str, ...]) -> tuple[TaskTypes, Integers]:
    """Read a list of tasks and sort them into types.

    Args:
        path: The file.
        models: GPU models of the cluster; `gpu_spec` names some of them, split by `|`.

    Returns:
        The types, and the type of each task, `[task]`.

    Raises:
        TraceError: The file is missing, empty, cut short or malformed, or asks for an unknown
            model.
    """
    rows = _read_rows(path, TASK_COLUMNS)
    columns = [_whole_numbers(path, rows, name) for name in TASK_COLUMNS[1:5]]
    specs = {spec: _allowed_models(path, spec, models) for spec in {r["gpu_spec"] for r in rows}}
    allowed = np.stack([specs[row["gpu_spec"]] for row in rows])
    table = np.concatenate([np.stack(columns, axis=1), allowed], axis=1)
    distinct, first, inverse = np.unique(table, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    cpu, memory, num_gpus, gpu_milli = distinct[order, :4].T
    least = np.select([num_gpus == 0, num_gpus == 1], [0, 1], GPU_MILLI)
    most = np.where(num_gpus == 0, 0, GPU_MILLI)
    fits = (least <= gpu_milli) & (gpu_milli <= most) & (num_gpus <= MAX_DEVICES)
    if not fits.all():
        wrong = int(np.flatnonzero(~fits)[0])
        raise TraceError(
            f"{path}: num_gpu={num_gpus[wrong]} with gpu_milli={gpu_milli[wrong]}; one GPU wants "
            f"1 to {GPU_MILLI}, 2 to {MAX_DEVICES} want {GPU_MILLI} each, none wants 0"
        )
    types = TaskTypes(
        cpu_milli=cpu,
        memory_mib=memory,
        num_gpus=num_gpus,
        gpu_milli=gpu_milli,
        allowed=distinct[order, 4:].astype(bool),
    )
    return types, np.argsort(order)[inverse.ravel()]


@dataclass(frozen=True, kw_only=True)
class _NodeKind:
    """Machines of one make in the synthetic cluster."""

    model: str
    num_gpus: int
    cpu_milli: int
    memory_mib: int
    share: float


_KINDS = (
    _NodeKind(model="A", num_gpus=8, cpu_milli=96_000, memory_mib=393_216, share=0.5),
    _NodeKind(model="B", num_gpus=2, cpu_milli=104_000, memory_mib=524_288, share=0.25),
    _NodeKind(model="C", num_gpus=2, cpu_milli=16_000, memory_mib=131_072, share=0.1),
    _NodeKind(model="D", num_gpus=4, cpu_milli=32_000, memory_mib=131_072, share=0.1),
    _NodeKind(model="D", num_gpus=1, cpu_milli=8_000, memory_mib=65_536, share=0.05),
)


def make_cluster_trace(num_nodes: int = 1200, num_types: int = 60, seed: int = 0) -> ClusterTrace:
    """Make a cluster and a list of tasks of the kinds of the trace, for where it is not at hand.

    Of the types, four of ten ask for a fraction of a GPU in steps of ten thousandths, four for a
    whole one, one for several (2, 4 or 8, the same number for all) and one for none; how often they
    occur falls as 1 / rank. The list asks for as many GPUs as there are.

    Args:
        num_nodes: Machines, five kinds in fixed shares.
        num_types: Different requests.
        seed: Of the draws.

    Raises:
        ConfigError: There is no node, or there are fewer than ten types.
    """
    if num_nodes < 1 or num_types < 10:
        raise ConfigError("num_nodes must be at least 1 and num_types at least 10")
    generator = make_generator(seed, "synthetic cluster")
    ends = np.cumsum([kind.share for kind in _KINDS])
    kind = np.searchsorted(ends, (np.arange(num_nodes) + 0.5) / num_nodes * ends[-1])
    models = tuple(sorted({one.model for one in _KINDS}))
    nodes = NodeTable(
        cpu_milli=np.asarray([_KINDS[one].cpu_milli for one in kind]),
        memory_mib=np.asarray([_KINDS[one].memory_mib for one in kind]),
        num_gpus=np.asarray([_KINDS[one].num_gpus for one in kind]),
        model=np.asarray([models.index(_KINDS[one].model) for one in kind]),
        models=models,
    )
    group = np.arange(num_types) % 10
    num_gpus = np.where(group < 8, 1, np.where(group == 8, generator.choice([2, 4, 8]), 0))
    part = 10 * generator.integers(5, 96, num_types)
    gpu_milli = np.where(num_gpus == 0, 0, np.where(group % 2 == 0, part, GPU_MILLI))
    gpu_milli = np.where(num_gpus > 1, GPU_MILLI, gpu_milli)
    per_gpu = 500 * generator.integers(4, 25, num_types)
    types = TaskTypes(
        cpu_milli=per_gpu * np.maximum(num_gpus, 1),
        memory_mib=4 * per_gpu * np.maximum(num_gpus, 1),
        num_gpus=num_gpus,
        gpu_milli=gpu_milli,
        allowed=np.ones((num_types, len(models)), bool),
    )
    weight = 1.0 / (1.0 + np.arange(num_types)) / np.maximum(num_gpus, 1)
    weight /= weight.sum()
    length = max(1, round(nodes.gpu_milli / float(weight @ types.demand)))
    tasks = generator.choice(num_types, size=length, p=weight)
    return ClusterTrace(nodes=nodes, types=types, tasks=tasks)


def _allowed_models(path: Path, spec: str, models: tuple[str, ...]) -> Flags:
    named = [name for name in spec.split("|") if name]
    unknown = sorted(set(named) - set(models))
    if unknown:
        raise TraceError(
            f"{path}: gpu_spec asks for {', '.join(unknown)}; the nodes have {', '.join(models)}"
        )
    return np.asarray([not named or model in named for model in models])


def _whole_numbers(path: Path, rows: list[dict[str, str]], column: str) -> Integers:
    values = []
    for number, row in enumerate(rows, start=2):
        text = row[column]
        if not text.isascii() or not text.isdigit():
            raise TraceError(
                f"{path}, line {number}: {column} is {text!r}, not a whole number from 0 up"
            )
        if len(text.lstrip("0")) > len(str(LARGEST_NUMBER)) or int(text) > LARGEST_NUMBER:
            raise TraceError(
                f"{path}, line {number}: {column} is {text[:20]}, more than {LARGEST_NUMBER}"
            )
        values.append(int(text))
    return np.asarray(values, np.int64)


def _read_rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read a table with a header, checking that every line is whole."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror}; get it: {SOURCE}") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path} is not text; get it again: {SOURCE}") from error
    try:
        header, *lines = list(csv.reader(text.splitlines(), strict=True)) or [[]]
    except csv.Error as error:
        raise TraceError(f"{path} is damaged: {error}; get it again: {SOURCE}") from error
    lacking = [name for name in columns if name not in header]
    if lacking:
        raise TraceError(f"{path} lacks the columns {', '.join(lacking)}; get it again: {SOURCE}")
    if not lines:
        raise TraceError(f"{path} is empty; get it again: {SOURCE}")
    cut = [number for number, line in enumerate(lines, start=2) if len(line) != len(header)]
    if cut or not text.endswith("\n"):
        where = f"at line {cut[0]}" if cut else "within its last line"
        raise TraceError(f"{path} is cut short or damaged {where}; get it again: {SOURCE}")
    return [dict(zip(header, line, strict=True)) for line in lines]
