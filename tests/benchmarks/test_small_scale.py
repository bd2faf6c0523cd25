"""Tests of ``small_scale.py``: which tries another call repeats, and what the table lists."""

import itertools
import json
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, init_default_scope

from bam_mm.launch.config import load_config
from bam_mm.registry import MODELS
from benchmarks import small_scale


@pytest.fixture
def tries(monkeypatch):
    """Two tries of a method."""
    monkeypatch.setattr(small_scale, "TRIES", {"bam": {"first": "", "second": "a = 1"}})
    monkeypatch.setattr(small_scale, "SECOND_ROUND", {"bam": {}})


@pytest.fixture
def train(monkeypatch, tries):
    """A function that runs the study with trainings that end with the given codes."""

    def run(work, *outcomes):
        left, begun = list(outcomes), []

        def training(command, **_):
            begun.append(Path(command[4]).parent.name)
            outcome = left.pop(0)
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome == 0:
                log = Path(command[6]) / "20260101_000000/vis_data/scalars.json"
                log.parent.mkdir(parents=True)
                log.write_text(json.dumps({"step": 9, "knn/student_top1": 31.25}))
            return SimpleNamespace(returncode=outcome)

        monkeypatch.setattr(small_scale.subprocess, "run", training)
        small_scale.run(work / "data", work, small_scale.tries(["bam"]))
        return begun

    return run


def lines_of(work, capsys):
    capsys.readouterr()
    small_scale.table(work)
    return capsys.readouterr().out.splitlines()[2:]


@pytest.mark.parametrize("code", [-signal.SIGTERM, -signal.SIGKILL, 130])
def test_an_interrupted_training_is_repeated_and_a_failed_one_is_not(train, tmp_path, code):
    assert train(tmp_path, code, 1) == ["bam-0", "bam-1"]
    assert [path.name for path in tmp_path.iterdir()] == ["bam-1"]
    assert train(tmp_path, 0) == ["bam-0"]
    assert train(tmp_path) == []


def test_a_call_that_is_interrupted_leaves_no_folder(train, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, 0, KeyboardInterrupt())
    assert [path.name for path in tmp_path.iterdir()] == ["bam-0"]
    assert train(tmp_path, 0) == ["bam-1"]


def test_the_table_lists_every_try_that_has_begun(train, tmp_path, capsys):
    train(tmp_path, 0, 1)
    (tmp_path / "bam-1/record.json").unlink()
    (tmp_path / "notes").mkdir()
    finished, open_ = lines_of(tmp_path, capsys)
    assert finished.startswith("| bam | first | 31.2 |  |")
    assert open_ == "| bam | second | not finished | | | | |"


def test_ablations_are_averaged_over_seeds_that_the_tries_have_not_had(tmp_path, capsys):
    planned = small_scale.ablations()
    assert {training.seed for training in planned} == {1, 2, 3}
    assert {training.split for training in planned} == {"test"}
    for training, student in zip(planned[:5:4], (31.0, 33.0), strict=True):
        record = {"code": 0, "knn": {"student": [20.0, student], "teacher": [20.0, 30.0]}}
        (tmp_path / training.folder).mkdir()
        (tmp_path / training.folder / "record.json").write_text(json.dumps(record))
    small_scale.signs(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:4] == [
        "| as configured | 2 | 32.0 ± 1.4 | 30.0 ± 0.0 |",
        "| no balancing | 0 |  |  |",
    ]


def config_with(change, method, folder):
    base = small_scale.ROOT / small_scale.CONFIG.format(method)
    file = folder / "config.py"
    file.write_text(f"_base_ = {str(base)!r}\n{change}\n")
    config = load_config(file)
    init_default_scope(config.default_scope)
    build_optim_wrapper(MODELS.build(config.model), config.optim_wrapper)
    for hook in config.custom_hooks:
        HOOKS.build(hook)
    return config.to_dict()


@pytest.mark.parametrize("method", small_scale.TRIES)
def test_tries_are_different_settings_of_which_the_short_config_has_one(tmp_path, method):
    tried = [config_with(t.change, method, tmp_path) for t in small_scale.tries([method])]
    assert all(one != other for one, other in itertools.combinations(tried, 2))
    assert tried.count(config_with("", method, tmp_path)) == 1


def test_ablations_are_different_settings(tmp_path):
    changes = dict.fromkeys(training.change for training in small_scale.ablations())
    found = [config_with(change, "bam", tmp_path) for change in changes]
    assert len(found) == 4
    assert all(one != other for one, other in itertools.combinations(found, 2))
