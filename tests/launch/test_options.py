"""Options must fit the config: misspelt keys stop, variables reach their uses or stop."""

import pytest

from bam_mm import InputError
from bam_mm.launch import reach
from bam_mm.launch.config import load_config
from bam_mm.launch.option_text import OptionText

BASE = """
default_scope = 'mmpretrain'
data_root = 'here'
branch = 'teacher'
base_lr = 1e-3
warmup = 5
width = 96
unused = 1
pipeline_of_test = [dict(type='ResizeEdge', scale=54), dict(type='PackInputs')]
"""
CONFIG = """
_base_ = 'base.py'
lr = 0.1
model = dict(
    type='ImageClassifier',
    backbone=dict(type='VisionTransformer', arch=dict(embed_dims=96, num_layers=4), img_size=48),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', in_channels=_base_.width, num_classes=10),
)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=lr, momentum=_base_.base_lr * 900),
    clip_grad=None,
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3 / lr, end=_base_.warmup),
    dict(type='CosineAnnealingLR', begin=_base_.warmup, T_max=100 - _base_.warmup),
]
test_cfg = dict(type='bam_mm.KNNTestLoop', k=[10, 20], bank=dict(batch_size=8, num_workers=2))
test_dataloader = dict(
    batch_size=64, num_workers=2,
    dataset=dict(type='bam_mm.ImageFolder', data_root=_base_.data_root, split='val',
                 pipeline=_base_.pipeline_of_test),
)
custom_hooks = [dict(type='bam_mm.LoadBackboneHook', checkpoint=None, branch=_base_.branch)]
default_hooks = dict(logger=dict(type='LoggerHook', interval=50))
sizes = (8, 8)
layout = dict(num_global=2)
photometric = [dict(blur_prob=1.0)]
tta_pipeline = [dict(layout=layout, photometric=photometric)]
test_evaluator = dict(type='Accuracy', topk=(1, 5))
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("configs")
    (folder / "base.py").write_text(BASE)
    (folder / "c.py").write_text(CONFIG)
    return folder / "c.py"


def load(path, *options):
    pairs = (option.split("=", 1) for option in options)
    return load_config(path, {key: OptionText(value) for key, value in pairs})


@pytest.mark.parametrize(
    "option, message",
    [
        (
            "brnach=student",
            r"brnach=student: 'brnach' is no setting at the top of .*c\.py; did you mean branch",
        ),
        ("data_rot=x", "did you mean data_root"),
        ("tets_cfg.k=5", "did you mean test_cfg"),
        ("lerning_rate=1", "at the top of"),
        ("chekpoint=x", r"did you mean custom_hooks\.0\.checkpoint"),
        (
            "test_cfg.kk=[5]",
            r"no setting at test_cfg \(bam_mm.KNNTestLoop\).*did you mean test_cfg\.k\?",
        ),
        ("model.backbone.frozen_stage=1", r"did you mean model\.backbone\.frozen_stages"),
        ("model.head.clases=3", "at model.head"),
        ("optim_wrapper.optimizer.momentm=0", r"did you mean optim_wrapper\.optimizer\.momentum"),
        ("optim_wrapper.clip_grad.max_nrom=1", r"did you mean optim_wrapper\.clip_grad\.max_norm"),
        ("optim_wrapper.clipgrad.max_norm=1", r"did you mean optim_wrapper\.clip_grad"),
        ("test_dataloader.batchsize=1", r"did you mean test_dataloader\.batch_size"),
        (
            "test_dataloader.dataset.pipelines=[]",
            r"did you mean test_dataloader\.dataset\.pipeline",
        ),
        ("custom_hooks.0.chekpoint=x", r"did you mean custom_hooks\.0\.checkpoint"),
        ("default_hooks.loger.interval=1", r"did you mean default_hooks\.logger"),
        ("default_hooks.logger.intervall=1", r"did you mean default_hooks\.logger\.interval"),
        ("randomness.sed=1", r"did you mean randomness\.seed"),
        ("env_cfg.cudnn_benchmrk=1", r"did you mean env_cfg\.cudnn_benchmark"),
        ("layout.num_locl=2", r"did you mean layout\.num_local"),
        ("photometric.0.blur_prb=2", r"did you mean photometric\.0\.blur_prob"),
        ("img_size=32", r"did you mean .*model\.backbone\.img_size"),
        ("train_dataloader.batch_size=1", "has no train_dataloader, so nothing uses"),
        ("unused=2", "nothing in .* uses unused; leave it out"),
        ("warmup=3", r"warmup is only a variable.*set param_scheduler\.0\.end, param_scheduler\.1"),
        ("base_lr=1", r"no entry takes its value as it is; set optim_wrapper\.optimizer\.momentum"),
        ("param_scheduler.7.end=3", "a list with the entries 0 to 1, which '7' is not"),
        ("param_scheduler.-1.end=3", "which '-1' is not"),
        ("param_scheduler.end=3", "which 'end' is not"),
        ("test_evaluator.topk.0=3", r"the tuple \(1, 5\).*test_evaluator.topk=\.\.\."),
        ("data_root.x=3", "data_root is 'here', which has no settings below it; set data_root"),
        ("model..type=X", "names joined by single dots"),
        ("model=X", "model is a group of settings; set one of them, model.NAME"),
        ("param_scheduler=3", "param_scheduler is a group of settings"),
        ("test_dataloader.batch_size=many", "is a number, 64 in the config"),
        ("lr=fast", "lr is a number, 0.1 in the config"),
        # Arguments that the config leaves at their defaults.
        ("model.backbone.frozen_stages=two", "frozen_stages is a number, by default -1"),
        ("model.backbone.with_cls_token=maybe", "is a switch; write True or False"),
    ],
)
def test_what_fits_nothing_stops_with_the_nearest(path, option, message):
    with pytest.raises(InputError, match=message):
        load(path, option)


@pytest.mark.parametrize(
    "option, key, value",
    [
        ("model.backbone.frozen_stages=1", "model.backbone.frozen_stages", 1),
        ("model.backbone.arch=b", "model.backbone.arch", "b"),
        ("model.head.loss.type=CrossEntropyLoss", "model.head.loss.type", "CrossEntropyLoss"),
        ("optim_wrapper.clip_grad.max_norm=3", "optim_wrapper.clip_grad.max_norm", 3),
        ("optim_wrapper.accumulative_counts=2", "optim_wrapper.accumulative_counts", 2),
        ("optim_wrapper.optimizer.nesterov=True", "optim_wrapper.optimizer.nesterov", True),
        ("optim_wrapper.paramwise_cfg.norm_decay_mult=0", "optim_wrapper.paramwise_cfg", None),
        ("test_dataloader.prefetch_factor=4", "test_dataloader.prefetch_factor", 4),
        ("test_cfg.temperature=0.1", "test_cfg.temperature", 0.1),
        ("test_cfg.k=5", "test_cfg.k", 5),
        ("randomness.seed=3", "randomness.seed", 3),
        ("load_from=2017", "load_from", "2017"),
        ("find_unused_parameters=True", "find_unused_parameters", True),
        ("param_scheduler.1.begin=1e1", "param_scheduler.1.begin", 10),
        ("default_hooks.timer=None", "default_hooks.timer", None),
        ("model.neck=None", "model.neck", None),
        ("layout.local_size=24", "layout.local_size", 24),
        ("photometric.0.solarize_prob=0.2", "photometric.0.solarize_prob", 0.2),
        ("custom_hooks.0.priority=LOW", "custom_hooks.0.priority", "LOW"),
        ("+model.backbone.frozen_stage=1", "model.backbone.frozen_stage", 1),
        ("+mine=1", "mine", 1),
        ("+a.b.c=1", "a.b.c", 1),
    ],
)
def test_what_the_config_or_a_class_knows_is_set(path, option, key, value):
    from bam_mm.variables.entries import look_up

    found, there = look_up(load(path, option), key)
    assert there and (value is None or found == value)


def test_a_new_hook_is_its_type_and_the_arguments_of_that_type(path):
    config = load(path, "default_hooks.ema.momentum=0.1", "default_hooks.ema.type=EMAHook")
    assert config.default_hooks.ema == dict(type="EMAHook", momentum=0.1)
    with pytest.raises(InputError, match=r"no setting at default_hooks\.vis .IterTimerHook"):
        load(path, "default_hooks.vis.type=IterTimerHook", "default_hooks.vis.intervall=1")


def test_a_new_type_decides_which_arguments_there_are(path):
    words = ("model.backbone.type=ResNet", "model.backbone.depth=50")
    config = load(path, "model.backbone._delete_=True", *words)
    assert config.model.backbone == dict(type="ResNet", depth=50)
    with pytest.raises(
        InputError, match=r"at model\.backbone .ResNet.*did you mean model\.backbone\.depth"
    ):
        load(path, *words, "model.backbone.dept=18")


def test_a_variable_of_another_name_reaches_its_copies(path):
    config = load(path, "width=192", "pipeline_of_test.0.scale=64")
    assert config.model.head.in_channels == 192
    assert config.test_dataloader.dataset.pipeline[0].scale == 64
    assert config.test_dataloader.dataset.pipeline[1] == dict(type="PackInputs")


TUPLES = """
size = 224
pair = [1, 2]
step = dict(type='Resize', scale=224)
train_dataloader = dict(dataset=dict(pipeline=(dict(type='Resize', scale=(size, size)), step)))
test_evaluator = [dict(type='Accuracy', topk=(1, size)), dict(type='Accuracy', topk=(pair, 5))]
model = dict(type='ImageClassifier', head=dict(topk=((0, size), 3)))
"""


def test_a_variable_reaches_copies_inside_tuples(tmp_path):
    (tmp_path / "c.py").write_text(TUPLES)
    config = load(tmp_path / "c.py", "size=384", "pair=[3,4]", "step.scale=96")
    pipeline = config.train_dataloader.dataset.pipeline
    assert isinstance(pipeline, tuple) and pipeline[0] == dict(type="Resize", scale=(384, 384))
    assert pipeline[1] == dict(type="Resize", scale=96)
    assert config.test_evaluator[0].topk == (1, 384)
    assert config.test_evaluator[1].topk == ([3, 4], 5)
    assert config.model.head.topk == ((0, 384), 3)


def test_what_is_computed_from_a_variable_is_named_once(path, monkeypatch):
    lines = []
    reach._warn_once.cache_clear()
    monkeypatch.setattr(reach, "print_log", lambda text, **_: lines.append(text))
    for _ in range(2):
        assert load(path, "lr=0.2").optim_wrapper.optimizer.lr == 0.2
    assert len(lines) == 1 and "param_scheduler.0.start_factor=0.01;" in lines[0]
    load(path, "lr=0.3", "param_scheduler.0.start_factor=0.1", "branch=student")
    assert len(lines) == 1


def test_what_a_config_sets_without_the_variable_is_not_named(path, monkeypatch):
    lines = []
    own = path.parent / "own.py"
    monkeypatch.setattr(reach, "_warn_once", lines.append)
    for value in ("0.03", "lr / 3"):
        own.write_text(
            f"_base_ = 'c.py'\nlr = 0.1\nparam_scheduler = [dict(type='LinearLR', end=5, "
            f"start_factor={value})]\noptim_wrapper = dict(optimizer=dict(lr=lr))\n"
        )
        load(own, "lr=0.2")
    assert len(lines) == 1 and "param_scheduler.0.start_factor=0.0333" in lines[0]


@pytest.mark.parametrize("name", ["checkpoint", "branch"])
def test_a_variable_whose_hook_a_list_has_replaced(path, name):
    own = path.parent / "own.py"
    own.write_text(
        f"{name} = None\ncustom_hooks = [dict(type='bam_mm.CheckLabelsHook')]\n"
        "default_hooks = dict(checkpoint=dict(type='CheckpointHook'))\n"
    )
    with pytest.raises(
        InputError,
        match=r"own\.py has no bam_mm\.LoadBackboneHook, which loads .*\[\*_base_\.custom_hooks, ",
    ):
        load(own, f"{name}=w.pth")


def test_an_entry_set_by_itself_wins_over_its_variable(path):
    config = load(path, "optim_wrapper.optimizer.lr=0.1", "lr=0.5")
    assert config.optim_wrapper.optimizer.lr == 0.1


def test_classes_of_a_test_with_the_loop_of_mmpretrains_configs(tmp_path):
    path = tmp_path / "c.py"
    path.write_text("default_scope = 'mmpretrain'\ntest_cfg = dict()\n")
    assert load(path, "test_cfg.classes=subset").test_cfg == dict(classes="subset")
    path.write_text("default_scope = 'mmdet'\ntest_cfg = dict(type='TestLoop')\n")
    with pytest.raises(InputError, match="'classes' is no setting at test_cfg"):
        load(path, "test_cfg.classes=subset")
