"""What test jobs run in their child process: plain Python, quick, deterministic."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

from utils.errors import ConfigError
from utils.persistence.files import hash_file, write_atomically


def load(context):
    """Return (step, sum so far) of the checkpoint, or the beginning."""
    if context.resume is None:
        return 0, 0
    path = Path(context.resume["path"])
    assert hash_file(path) == context.resume["sha256"]
    step, total = path.read_text().split()
    return int(step), int(total)


def save(context, step, total):
    content = f"{step} {total}".encode()
    path = context.work_folder / f"{step}.{context.fence}"
    sha256 = write_atomically(path, content)
    context.checkpoint(path, sha256, step, len(content))


def wait_for(path):
    while not Path(path).exists():
        time.sleep(0.01)


def add_up(spec, context):
    """Add 1..steps, one checkpoint and one effect per step; obeys stops.

    Spec: `steps`; `hold` = {step: file to wait for after that step's checkpoint};
    `die_at` = step after which attempt 1 kills itself.
    """
    step, total = load(context)
    context.emit("resumed", {"step": step})
    while step < spec["steps"]:
        if context.should_stop():
            save(context, step, total)
            return {}
        step += 1
        total += step
        context.metrics(step, {"total": total})
        context.progress(step, spec["steps"])
        save(context, step, total)
        context.emit("step_done", {"step": step, "fence": context.fence})
        if step == spec.get("die_at") and context.fence == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        hold = spec.get("hold", {}).get(str(step))
        while hold and not Path(hold).exists() and not context.should_stop():
            time.sleep(0.01)
    return {"total": total}


def effect_after(spec, context):
    """Wait for a file named by our fence, then leave one effect."""
    context.emit("ready", {"fence": context.fence})
    wait_for(f"{spec['go']}.{context.fence}")
    context.emit("effect", {"fence": context.fence})
    return {"fence": context.fence}


def ignore_stops(spec, context):
    context.emit("ready", {})
    while True:
        time.sleep(0.05)


def raise_value_error(spec, context):
    raise ValueError("the answer is 41")


def raise_config_error(spec, context):
    raise ConfigError("gamma=2: must lie in [0, 1]")


def fill_disk(spec, context):
    raise OSError(errno.ENOSPC, "No space left on device", "/var/checkpoint")


def exit_badly(spec, context):
    os.write(1, b"about to leave\n")
    os._exit(3)


def report_session(spec, context):
    return {"own_session": os.getsid(0) == os.getpid()}


def send_too_much(spec, context):
    context.emit("blob", {"data": "x" * (1 << 20)})
    return {}


def count_rows(spec, context):
    for step in range(spec["rows"]):
        context.metrics(step, {"a": step, "b": float("nan")})
    return {}


def be_orphaned(spec, context):
    """Save to a plain file what happens when the supervisor vanishes."""
    context.emit("ready", {"pid": os.getpid()})
    while context.should_stop() is None:
        time.sleep(0.01)
    save(context, 1, 1)
    (context.work_folder / "stopped_by").write_text(str(context.should_stop()))
    return {}


def note_inputs(spec, context):
    """Return what came from the needed jobs."""
    return {"inputs": context.inputs, "name": spec.get("name")}


def until_stopped(spec, context):
    """Wait for a stop; say hello first."""
    context.emit("ready", {})
    context.progress(1, 2)
    while context.should_stop() is None:
        time.sleep(0.005)
    return {}


def deaf(spec, context):
    """Wait for a file, whatever anybody asks."""
    context.emit("ready", {})
    wait_for(spec["go"])
    return {}


def use_all_memory(spec, context):
    raise MemoryError("cannot hold 1 TiB")
