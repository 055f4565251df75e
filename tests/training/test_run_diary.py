"""Stages and CPU time of a run, over restarts."""

from __future__ import annotations

import itertools
import json

import pytest

from rl.training.recorder import CheckpointRecord, EvaluationRecord, NullRecorder
from rl.training.run_diary import DIARY_FILE, Diary, DiaryRecorder, StageEntry, read_diary
from utils.errors import ConfigError

CHECKPOINT = CheckpointRecord(path="p", sha256="s", env_steps=1, size_bytes=1)


class Meter:
    """CPU seconds, turned by hand."""

    def __init__(self):
        self.used = 100.0

    def __call__(self):
        return self.used


def names(diary):
    return [(stage.name, stage.env_steps) for stage in diary.stages]


def test_stages_and_time_are_on_disk_after_every_event(tmp_path):
    meter = Meter()
    recorder = DiaryRecorder(NullRecorder(), tmp_path, cpu_seconds=meter)
    recorder.stage_changed(0, "tuning")
    assert read_diary(tmp_path) == Diary(stages=(StageEntry(name="tuning", env_steps=0),))
    meter.used += 2
    recorder.evaluated(EvaluationRecord(env_steps=0, scores={}))
    assert read_diary(tmp_path).cpu_seconds == 2
    meter.used += 3
    recorder.checkpoint_written(CHECKPOINT)
    assert read_diary(tmp_path).cpu_seconds == 5


def test_a_second_attempt_adds_its_time_and_forgets_the_stages_it_repeats(tmp_path):
    meter = Meter()
    first = DiaryRecorder(NullRecorder(), tmp_path, cpu_seconds=meter)
    first.stage_changed(0, "tuning")
    first.stage_changed(0, "easy")
    first.metrics(64, {})
    first.stage_changed(64, "medium")
    first.metrics(128, {})
    first.stage_changed(128, "hard")
    meter.used += 10
    first.checkpoint_written(CHECKPOINT)
    other = Meter()
    second = DiaryRecorder(NullRecorder(), tmp_path, cpu_seconds=other)
    second.stage_changed(0, "tuning")
    assert names(second.diary)[-1] == ("hard", 128), "not known yet from where it goes on"
    second.metrics(128, {})
    assert names(second.diary) == [("tuning", 0), ("easy", 0), ("medium", 64)]
    second.stage_changed(192, "hard")
    other.used += 5
    second.evaluated(EvaluationRecord(env_steps=192, scores={}))
    assert read_diary(tmp_path).cpu_seconds == 15
    assert names(read_diary(tmp_path))[-1] == ("hard", 192)


def test_a_stage_that_goes_on_is_told_once(tmp_path):
    recorder = DiaryRecorder(NullRecorder(), tmp_path)
    for step in (0, 10, 20):
        recorder.stage_changed(step, "same")
    assert names(recorder.diary) == [("same", 0)]


def test_a_stage_may_return(tmp_path):
    recorder = DiaryRecorder(NullRecorder(), tmp_path)
    for step, stage in zip(itertools.count(), "aba"):
        recorder.stage_changed(step, stage)
    assert names(recorder.diary) == [("a", 0), ("b", 1), ("a", 2)]


def test_no_diary_is_none_and_a_damaged_one_is_named(tmp_path):
    assert read_diary(tmp_path) is None
    for damage in ("{", "[]", '{"stages": 3}', json.dumps({"cpu_seconds": "much"})):
        (tmp_path / DIARY_FILE).write_text(damage)
        with pytest.raises(ConfigError, match=r"diary\.json is damaged"):
            DiaryRecorder(NullRecorder(), tmp_path)
