"""The OpenB files are read to the row, damaged ones refused; a made cluster has the same kinds."""

from __future__ import annotations

import numpy as np
import pytest

from data.cluster_trace import (
    NODE_FILE,
    TASK_FILE,
    load_cluster_trace,
    load_nodes,
    load_tasks,
    make_cluster_trace,
)
from data.traces import TraceError, locate_traces
from utils.errors import ConfigError

NODES = """sn,cpu_milli,memory_mib,gpu,model
node-2,96000,393216,8,G2
node-1,64000,262144,2,P100
node-0,32000,262144,0,
"""
TASKS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos
a,12000,16384,1,1000,,LS
b,6000,12288,1,460,P100,LS
c,12000,16384,1,1000,,BE
d,4000,1024,0,0,,BE
e,48000,65536,4,1000,G2|P100,BE
"""
MODELS = ("G2", "P100")


@pytest.fixture
def write(tmp_path):
    def to_file(text):
        path = tmp_path / "file.csv"
        path.write_text(text)
        return path

    return to_file


def test_nodes_without_gpu_are_left_out_and_the_rest_sorted_by_name(write):
    nodes = load_nodes(write(NODES))
    assert nodes.cpu_milli.tolist() == [64_000, 96_000]
    assert nodes.memory_mib.tolist() == [262_144, 393_216]
    assert nodes.num_gpus.tolist() == [2, 8]
    assert [nodes.models[one] for one in nodes.model] == ["P100", "G2"]
    assert nodes.gpu_milli == 10_000


def test_equal_requests_are_one_type(write):
    types, tasks = load_tasks(write(TASKS), MODELS)
    assert tasks.tolist() == [0, 1, 0, 2, 3]
    assert types.cpu_milli.tolist() == [12_000, 6000, 4000, 48_000]
    assert types.memory_mib.tolist() == [16_384, 12_288, 1024, 65_536]
    assert types.demand.tolist() == [1000, 460, 0, 4000]
    assert types.allowed.tolist() == [[True, True], [False, True], [True, True], [True, True]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("P100", "", "without a model"),
        ("node-2", "node-1", "twice"),
        ("64000", "nan", "line 3: cpu_milli is 'nan'"),
        ("64000", "-5", "line 3: cpu_milli is '-5'"),
        ("64000", "0", "without CPU"),
        (",8,G2", ",9,G2", "0 to 8"),
        ("model", "kind", "lacks the columns model"),
        ("393216,8,G2", "393216,8", "damaged at line 2"),
        ("262144,0,\n", "262144,0,", "within its last line"),
        ("64000", "9" * 5000, "line 3: cpu_milli is 9999.*more than 16777216"),
        ("64000", "4294967297", "line 3: cpu_milli is 4294967297, more than 16777216"),
        ("P100", "x" * 200_000, "damaged: field larger"),
        ("P100", '"P100', "damaged: unexpected end"),
    ],
)
def test_damaged_nodes_are_refused(write, old, new, message):
    with pytest.raises(TraceError, match=message):
        load_nodes(write(NODES.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("460,P100", "460,P10", "asks for P10; the nodes have G2, P100"),
        ("1,460", "1,1460", "num_gpu=1 with gpu_milli=1460"),
        ("1,460", "1,0", "num_gpu=1 with gpu_milli=0"),
        ("1,460", "2,460", "num_gpu=2 with gpu_milli=460"),
        ("1,460", "16,1000", "num_gpu=16"),
        ("1,460", "1,46.5", "gpu_milli is '46.5'"),
        ("1,460", "1,", "gpu_milli is ''"),
        ("gpu_spec", "spec", "lacks the columns gpu_spec"),
        ("6000,12288,1", "6000", "damaged at line 3"),
    ],
)
def test_damaged_tasks_are_refused(write, old, new, message):
    with pytest.raises(TraceError, match=message):
        load_tasks(write(TASKS.replace(old, new, 1)), MODELS)


def test_empty_and_missing_files_are_refused(write, tmp_path):
    header = NODES.split("\n", maxsplit=1)[0] + "\n"
    for text, message in (("", "lacks the columns"), (header, "is empty")):
        with pytest.raises(TraceError, match=message):
            load_nodes(write(text))
    with pytest.raises(TraceError, match="cannot read"):
        load_cluster_trace(tmp_path)
    (tmp_path / NODE_FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(TraceError, match="not text"):
        load_cluster_trace(tmp_path)


def test_shortened_lists_are_refused(tmp_path):
    (tmp_path / NODE_FILE).write_text(NODES)
    (tmp_path / TASK_FILE).write_text(TASKS)
    with pytest.raises(TraceError, match="2 of 1213 rows"):
        load_cluster_trace(tmp_path)


def test_a_made_cluster_asks_for_what_it_has():
    trace = make_cluster_trace(num_nodes=200, num_types=50, seed=1)
    types = trace.types
    assert types.demand[trace.tasks].sum() == pytest.approx(trace.nodes.gpu_milli, rel=0.1)
    assert set(np.unique(trace.nodes.num_gpus)) <= {1, 2, 4, 8}
    assert (types.gpu_milli[types.num_gpus > 1] == 1000).all()
    assert {(types.num_gpus == 0).any(), (types.num_gpus > 1).any()} == {True}
    assert ((types.gpu_milli > 0) & (types.gpu_milli < 1000)).any()
    again = make_cluster_trace(num_nodes=200, num_types=50, seed=1)
    assert (again.tasks == trace.tasks).all()
    with pytest.raises(ConfigError, match="num_types at least 10"):
        make_cluster_trace(num_types=9)


@pytest.mark.skipif(locate_traces() is None, reason="the trace files are not here")
def test_published_files():
    trace = load_cluster_trace(locate_traces())
    assert len(trace.nodes.cpu_milli) == 1213
    assert trace.nodes.gpu_milli == 6_212_000
    assert trace.nodes.cpu_milli.sum() == 107_018_000
    types = trace.types
    of_task = types.num_gpus[trace.tasks]
    assert np.bincount(of_task)[[0, 1, 2, 4, 8]].tolist() == [1088, 6989, 16, 15, 44]
    share = ((types.gpu_milli < 1000) & (types.num_gpus == 1))[trace.tasks].sum() / 6989
    assert share == pytest.approx(0.44, abs=0.01)
