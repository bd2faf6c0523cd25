"""Two runs in one work folder stay apart, and a run is resumed only from its own checkpoints."""

import os

import pytest
import torch
from mmengine.config import Config

from bam_mm.checkpoint import newest_checkpoint, read_checkpoint
from bam_mm.checkpoint.earlier_runs import earlier_files, set_aside
from bam_mm.checkpoint.settings import setting_differences
from bam_mm.errors import InputError
from bam_mm.figures.curves import read_scalars
from tests.hooks.tiny_runner import build, config_of, names, run

SEED = {"randomness.seed": 7}
FOLDER = {"train_dataloader.dataset.folder": "/data/one"}
VISUALIZER = dict(type="mmengine.Visualizer", vis_backends=[dict(type="mmengine.LocalVisBackend")])


def logged(config):
    config.visualizer = VISUALIZER
    config.default_hooks.logger.interval = 1
    return config


def trained(folder, monkeypatch, **options):
    """Train a run; return the path of its newest checkpoint."""
    run(config_of(folder, **options), monkeypatch)
    return newest_checkpoint(folder)[0]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The checkpoint of a run of one epoch."""
    with pytest.MonkeyPatch.context() as patch:
        return trained(tmp_path_factory.mktemp("saved"), patch, epochs=1, **FOLDER)


def resumed(folder, path, **options):
    config = config_of(folder, **options)
    config.load_from, config.resume = str(path), True
    return config


def seed_of(path):
    return read_checkpoint(path)["meta"]["seed"]


def test_a_shorter_second_run_leaves_nothing_of_the_first(tmp_path, monkeypatch):
    run(logged(config_of(tmp_path, epochs=4)), monkeypatch)
    (tmp_path / "train_facts.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setattr("time.strftime", lambda *_: "20260101_000000")  # Another second.
    run(logged(config_of(tmp_path, epochs=2, **SEED)), monkeypatch)
    assert names(tmp_path) == ["epoch_1.pth", "epoch_2.pth"]
    assert seed_of(newest_checkpoint(tmp_path)[0]) == 7
    earlier = tmp_path / "earlier-1"
    assert names(earlier) == [f"epoch_{n}.pth" for n in (1, 2, 3, 4)]
    assert seed_of(earlier / "epoch_4.pth") == 0 and (earlier / "train_facts.json").is_file()
    assert (tmp_path / "notes.txt").is_file()
    # The curves are those of one run, too: of two epochs with two iterations.
    assert [step for step, _ in read_scalars(tmp_path)["loss"]] == [1, 2, 3, 4]
    assert len(read_scalars(earlier)["loss"]) == 8
    run(config_of(tmp_path, epochs=1, **SEED), monkeypatch)
    assert names(tmp_path) == ["epoch_1.pth"] and len(names(tmp_path / "earlier-2")) == 2


def test_the_best_checkpoint_of_the_new_run_stays(tmp_path, monkeypatch):
    def start(**options):
        config = config_of(tmp_path, metric=1, **options)
        config.default_hooks.checkpoint.update(save_best="planned/score", rule="greater")
        config.default_hooks.checkpoint.interval = 2  # The best one is the first one.
        run(config, monkeypatch)

    best = "best_planned_score_epoch_1.pth"
    start()
    start(**SEED)
    assert names(tmp_path) == names(tmp_path / "earlier-1") == [best, "epoch_2.pth"]
    assert seed_of(tmp_path / best) == 7 and seed_of(tmp_path / "earlier-1" / best) == 0
    assert not (tmp_path / "earlier-2").exists()


def test_a_work_folder_whose_name_is_not_utf8(tmp_path, monkeypatch):
    folder = tmp_path / os.fsdecode(b"w\xfcrfel")
    run(config_of(folder), monkeypatch)
    pointer = (folder / "last_checkpoint").read_bytes()
    assert pointer == os.fsencode(folder / "epoch_2.pth") and newest_checkpoint(folder)[0].is_file()


def test_a_run_that_ends_before_it_saves_moves_nothing(tmp_path, monkeypatch):
    trained(tmp_path, monkeypatch)
    with pytest.raises(RuntimeError):
        run(config_of(tmp_path, model=dict(fail_at=1)), monkeypatch)
    assert names(tmp_path) == ["epoch_1.pth", "epoch_2.pth"]
    assert not (tmp_path / "earlier-1").exists()


def test_a_resumed_run_keeps_its_own_checkpoints_and_log(tmp_path, monkeypatch):
    newest = trained(tmp_path, monkeypatch)
    run(resumed(tmp_path, newest, epochs=3), monkeypatch)
    assert names(tmp_path) == [f"epoch_{n}.pth" for n in (1, 2, 3)]
    # From an earlier one, the later ones would be another future of the same run.
    run(resumed(tmp_path, tmp_path / "epoch_1.pth", epochs=2), monkeypatch)
    assert names(tmp_path) == ["epoch_1.pth", "epoch_2.pth"]
    assert names(tmp_path / "earlier-1") == ["epoch_2.pth", "epoch_3.pth"]


def test_resumed_from_elsewhere_into_a_used_folder(tmp_path, monkeypatch):
    source = trained(tmp_path / "one", monkeypatch, **SEED)
    trained(tmp_path / "two", monkeypatch, epochs=4)
    run(resumed(tmp_path / "two", source, epochs=3, **SEED), monkeypatch)
    assert names(tmp_path / "two") == ["epoch_3.pth"]
    assert seed_of(tmp_path / "two/epoch_3.pth") == 7
    assert len(names(tmp_path / "two/earlier-1")) == 4


def test_a_config_that_reads_what_would_move(tmp_path, monkeypatch):
    path = trained(tmp_path, monkeypatch)
    config = config_of(tmp_path)
    config.custom_hooks = [dict(type="bam_mm.LoadBackboneHook", checkpoint=str(path))]
    monkeypatch.setattr("bam_mm.hooks.LoadBackboneHook.before_train", lambda *_: None)
    with pytest.raises(InputError, match=r"custom_hooks\.0\.checkpoint=.*epoch_2\.pth lies in the"):
        run(config, monkeypatch)
    assert names(tmp_path) == ["epoch_1.pth", "epoch_2.pth"]


@pytest.mark.parametrize(
    "options, words",
    [
        (SEED, "randomness.seed: 0 -> 7"),
        ({"model.width": 3}, "model.width: (not set) -> 3"),
        ({"optim_wrapper.optimizer.lr": 0.5}, "optim_wrapper.optimizer.lr: 0.25 -> 0.5"),
        ({"param_scheduler.0.end": 5}, "param_scheduler.0.end: 9 -> 5"),
        ({"images": 6}, "images of the training set: 4 -> 6"),
        ({"batch": 4}, "train_dataloader.batch_size x processes x accumulated steps: 2 -> 4"),
        (
            {"train_dataloader.dataset.folder": "/data/two"},
            'train_dataloader.dataset.folder: "/data/one"',
        ),
        ({"custom_hooks": [dict(type="EMAHook")]}, "custom_hooks.0.type"),
    ],
)
def test_other_settings_are_not_resumed(tmp_path, monkeypatch, saved, options, words):
    named = {key: options[key] for key in ("images", "batch") if key in options}
    options = {key: value for key, value in options.items() if key not in named}
    with pytest.raises(InputError) as error:
        run(resumed(tmp_path, saved, **named, **(FOLDER | options)), monkeypatch)
    text = str(error.value)
    assert words in text and str(saved) in text and "--allow-changes" in text, text
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 3},
        {"default_hooks.logger.interval": 1, "log_level": "ERROR"},
        {"train_dataloader.persistent_workers": False, "default_hooks.checkpoint.interval": 2},
        {"custom_hooks": [dict(type="bam_mm.SkippedImagesHook"), dict(type="EmptyCacheHook")]},
        # The same images in the same batches, counted otherwise.
        {"train_dataloader.batch_size": 1, "optim_wrapper.accumulative_counts": 2},
    ],
)
def test_what_does_not_change_the_numbers_may_differ(tmp_path, monkeypatch, saved, options):
    runner = run(resumed(tmp_path, saved, **(FOLDER | options)), monkeypatch)
    assert runner.epoch == options.get("epochs", 2)


def test_changes_may_be_allowed(tmp_path, monkeypatch, saved):
    config = resumed(tmp_path, saved, **SEED, **FOLDER)
    config.default_hooks.checkpoint.allow_changes = True
    runner = build(config, monkeypatch)
    said = []
    monkeypatch.setattr(runner.logger, "log", lambda level, text: said.append((level, text)))
    runner.train()
    [warning] = [text for level, text in said if level == 30 and "--allow-changes" in text]
    assert "randomness.seed: 0 -> 7" in warning
    assert runner.epoch == 2


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda c: c.clear() or c.update(state_dict={}), "lacks the number of epochs and iter"),
        (lambda c: c.pop("optimizer"), "lacks the optimizer, so no training can go on"),
        (lambda c: c.pop("message_hub"), "lacks the log"),
        (lambda c: c["meta"].pop("iter"), "lacks the number of epochs"),
        (lambda c: c["state_dict"].pop("weight"), "1 missing: weight"),
        (lambda c: c["state_dict"].update(more=torch.ones(1)), "1 not in the model: more"),
        (
            lambda c: c["state_dict"].update(weight=torch.ones(5)),
            "weight ((5,), the model has (2,))",
        ),
        (lambda c: c["optimizer"]["param_groups"].pop(), "optimizer has 0 groups of 0 tensors"),
    ],
)
def test_checkpoints_from_which_no_run_goes_on(tmp_path, monkeypatch, saved, change, words):
    content = read_checkpoint(saved)
    change(content)
    torch.save(content, tmp_path / "changed.pth")
    with pytest.raises(InputError) as error:
        run(resumed(tmp_path, tmp_path / "changed.pth", **FOLDER), monkeypatch)
    assert words in str(error.value), error.value


def test_settings_of_a_checkpoint_of_an_earlier_version():
    # Without a config that can be read, and with entries that are no literals.
    assert setting_differences("", {"model": {"a": 1}}) == []
    assert setting_differences("model = (", {"model": {"a": 1}}) == []
    assert setting_differences(
        "model = f(1)\nrandomness = dict(seed=0)", {"model": {"a": 1}, "randomness": {"seed": 1}}
    ) == ["randomness.seed: 0 -> 1"]
    # A tuple and a list are the same, and precision belongs to the machine.
    amp = "optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16', clip_grad=dict(a=(1, 2)))"
    assert setting_differences(amp, {"optim_wrapper": {"clip_grad": {"a": [1, 2]}}}) == []


MODEL = "model = dict(type='A')\n"
EMA = [{"type": "EMAHook"}]
STEP = {"type": "StepLR", "step_size": 9}


@pytest.mark.parametrize(
    "recorded, new, expected",
    [
        (f"param_scheduler = {STEP}", {}, ['param_scheduler.type: "StepLR" -> (not set)',
                                           "param_scheduler.step_size: 9 -> (not set)"]),
        ("", {"param_scheduler": [STEP]}, ['param_scheduler.0.type: (not set) -> "StepLR"',
                                           "param_scheduler.0.step_size: (not set) -> 9"]),
        ("", {"custom_hooks": EMA}, ['custom_hooks.0.type: (not set) -> "EMAHook"']),
        ("custom_hooks = []", {"custom_hooks": EMA}, ['custom_hooks.0.type: (not set) -> "EMAH']),
        ("auto_scale_lr = dict(base_batch_size=8)",
         {"auto_scale_lr": {"base_batch_size": 8, "enable": True}},
         ["auto_scale_lr.base_batch_size: (not set) -> 8", "auto_scale_lr.enable: (not set) -> t"]),
        # What cannot be read, has no effect, or comes from the checkpoint.
        ("param_scheduler = f(1)", {"param_scheduler": [STEP]}, []),
        ("custom_hooks = f(1)", {"custom_hooks": EMA}, []),
        ("param_scheduler = None\ncustom_hooks = []", {}, []),
        ("auto_scale_lr = dict(enable=False, base_batch_size=8)", {}, []),
        ("", {"custom_hooks": [{"type": "EmptyCacheHook"}], "default_hooks": {}}, []),
        ("randomness = dict(seed=0)", {}, []),
    ],
)  # fmt: skip
def test_parts_that_only_one_of_two_runs_has(recorded, new, expected):
    found = setting_differences(MODEL + recorded, {"model": {"type": "A"}, **new})
    assert len(found) == len(expected)
    assert all(line.startswith(words) for line, words in zip(found, expected, strict=True)), found


def test_a_config_as_mmengine_prints_it():
    keys = {".bias": dict(decay_mult=0.0), "norm": dict(decay_mult=0.0)}
    config = Config(dict(optim_wrapper=dict(lr=(1, 2.5e-5), paramwise_cfg=dict(custom_keys=keys))))
    text = config.pretty_text
    assert "dict({" in text.replace(" ", "").replace("\n", "")
    assert setting_differences(text, config.to_dict()) == []
    config.optim_wrapper.paramwise_cfg.custom_keys.norm.decay_mult = 1.0
    place = "optim_wrapper.paramwise_cfg.custom_keys.norm.decay_mult"
    assert setting_differences(text, config.to_dict()) == [f"{place}: 0.0 -> 1.0"]


def test_only_what_a_training_saves_is_moved(tmp_path):
    for name in ("epoch_3.pth", "iter_20.pth", "best_acc_epoch_2.pth", "backbone.pth", "a.log"):
        (tmp_path / name).touch()
    for name in ("20260101_000000/vis_data", "20260102_000000/vis_data", "20260103_000000", "runs"):
        (tmp_path / name).mkdir(parents=True)

    def listed(**options):
        return {path.name for path in earlier_files(tmp_path, **options)}

    saved = {"epoch_3.pth", "iter_20.pth", "best_acc_epoch_2.pth"}
    assert listed(log_dir=tmp_path / "20260102_000000") == saved | {"20260101_000000"}
    assert listed(resumed=(2, 20)) == {"epoch_3.pth"}
    assert listed(resumed=(3, 19)) == {"iter_20.pth"} and listed(resumed=(3, 20)) == set()
    target = set_aside(earlier_files(tmp_path, resumed=(0, 0)))
    assert {p.name for p in target.iterdir()} == {"epoch_3.pth", "iter_20.pth"}
    assert (tmp_path / "backbone.pth").exists() and target.name == "earlier-1"
