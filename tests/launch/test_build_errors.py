"""Unknown types and misspelt arguments in a config: the place and the nearest names."""

from argparse import Namespace

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS, TRANSFORMS, DefaultScope
from mmengine.runner import Runner

from bam_mm import InputError
from bam_mm.launch.build_errors import check_keys, check_scope
from bam_mm.launch.runner import user_errors_unwrapped
from bam_mm.launch.testing import test as run_test
from bam_mm.launch.training import train


def config(**parts):
    made = Config(dict(default_scope="mmpretrain", **parts))
    object.__setattr__(made, "_filename", "own.py")
    return made


HEAD = dict(type="LinearClsHead", in_channels=8)
CLASSIFIER = dict(type="ImageClassifier", backbone=dict(type="ResNet", depth=18), head=HEAD)
CASES = [
    (
        MODELS,
        {**CLASSIFIER, "backbone": dict(type="NoSuchViT")},
        r"model\.backbone\.type='NoSuchViT' of own\.py: .*register no such model; (did|correct)",
    ),
    (
        MODELS,
        {**CLASSIFIER, "backbone": dict(type="ResNett", depth=18)},
        r"model\.backbone\.type='ResNett'.*did you mean .*ResNet",
    ),
    (
        MODELS,
        dict(type="FrozenBackboneClassifier"),
        "did you mean .*bam_mm.FrozenBackboneClassifier",
    ),
    (
        MODELS,
        {**CLASSIFIER, "backbone": dict(type="ResNet", dept=18)},
        r"model\.backbone\.dept=18 of own\.py: ResNet takes no 'dept'; did you mean depth\?",
    ),
    (
        MODELS,
        {**CLASSIFIER, "backbone": dict(type="MoCoV3ViT", arch="mocov3-small", depht=3)},
        r"model\.backbone\.depht=3 of own\.py: MoCoV3ViT takes no 'depht'",
    ),
    (
        MODELS,
        {**CLASSIFIER, "backbone": dict(type="TIMMBackbone", model_name="resnet18", depht=3)},
        r"model\.backbone\.depht=3 of own\.py: TIMMBackbone takes no 'depht'",
    ),
    (MODELS, CLASSIFIER, r"model\.head of own\.py: LinearClsHead needs num_classes; set model"),
    (
        MODELS,
        {**CLASSIFIER, "backbone": dict(depth=18)},
        r"model\.backbone=.*has no type; add the name of the class",
    ),
    # Values that constructors of the libraries reject.
    (
        MODELS,
        {**CLASSIFIER, "backbone": dict(type="ResNet", depth=19)},
        r"^model\.backbone of own\.py: ResNet does not take its settings \(.*invalid depth 19.*\); "
        r"correct model\.backbone\.depth=19 \(--cfg-options log_level=DEBUG shows",
    ),
    (
        MODELS,
        {**CLASSIFIER, "head": dict(type="LinearClsHead", in_channels=8, num_classes=0)},
        r"^model\.head of own\.py: LinearClsHead .* correct .*model\.head\.num_classes=0",
    ),
    (
        MODELS,
        {**CLASSIFIER, "backbone": dict(type="VisionTransformer", arch="small", patch_size=0)},
        r"^model\.backbone of own\.py: .*ZeroDivisionError.*model\.backbone\.patch_size=0",
    ),
    (
        MODELS,
        {**CLASSIFIER, "backbone": dict(type="TIMMBackbone", model_name="resnet10z")},
        r"^model\.backbone\.model_name='resnet10z' .*no model of this name; did you mean resnet10t",
    ),
    (
        MODELS,
        {**CLASSIFIER, "backbone": dict(type="TIMMBackbone", model_name="test_vit", in_chans=1)},
        r"^model\.backbone\.in_chans=1 of own\.py: TIMMBackbone takes no 'in_chans'",
    ),
]


@pytest.mark.parametrize("registry, part, message", CASES)
def test_the_place_of_a_mistake_is_named(registry, part, message):
    whole = config(model=part)
    scope = DefaultScope.overwrite_default_scope("mmpretrain")
    with pytest.raises(InputError, match=message), user_errors_unwrapped(whole), scope:
        registry.build(whole.model)


def test_mistakes_in_hooks_pipelines_and_loaders():
    hooks = config(custom_hooks=[dict(type="bam_mm.TeacherUpdateHook", momentm=0.9)])
    message = (
        r"custom_hooks\.0\.momentm=0\.9 .*TeacherUpdateHook takes no 'momentm'; did .*momentum"
    )
    with pytest.raises(InputError, match=message), user_errors_unwrapped(hooks):
        HOOKS.build(hooks.custom_hooks[0])
    pipeline = [dict(type="bam_mm.LoadImage"), dict(type="RandomFlip", probability=0.5)]
    data = config(train_dataloader=dict(dataset=dict(pipeline=pipeline)))
    message = r"train_dataloader\.dataset\.pipeline\.1\.probability=0\.5"
    with pytest.raises(InputError, match=message), user_errors_unwrapped(data):
        TRANSFORMS.build(data.train_dataloader.dataset.pipeline[1])
    loader = dict(batch_size=2, num_worker=0, sampler=None, dataset=[1, 2])
    data = config(train_dataloader=loader)
    message = r"train_dataloader\.num_worker=0 .*did you mean num_workers"
    with pytest.raises(InputError, match=message), user_errors_unwrapped(data):
        Runner.build_dataloader(data.train_dataloader)


def test_defects_keep_their_traceback():
    whole = config(model=dict(type="ResNet", mode="x"))

    def forward():
        return 1

    with pytest.raises(TypeError), user_errors_unwrapped(whole):
        forward(mode="x")
    with pytest.raises(KeyError), user_errors_unwrapped(whole):
        raise KeyError("Unknown is not in the mmengine::model registry")


def test_a_defect_in_a_class_of_the_user_keeps_its_traceback():
    @MODELS.register_module(name="OwnNet")
    class OwnNet:
        def __init__(self, width):
            self.scale = 1 / (width - width)

    whole = config(model=dict(type="OwnNet", width=3))
    with pytest.raises(ZeroDivisionError), user_errors_unwrapped(whole):
        MODELS.build(whole.model)
    MODELS.module_dict.pop("OwnNet")


@pytest.mark.parametrize(
    "parts, message",
    [
        (
            dict(default_hooks=dict(checkpoint=dict(type="CheckpointHook", max_keep_ckpt=3))),
            r"default_hooks\.checkpoint\.max_keep_ckpt=3 .*did you mean max_keep_ckpts",
        ),
        (
            dict(custom_hooks=[dict(type="bam_mm.WholeCheckpointHook", intervall=1)]),
            r"custom_hooks\.0\.intervall=1 .*did you mean interval",
        ),
        (
            dict(optim_wrapper=dict(paramwise_cfg=dict(bias_decay_mul=0))),
            r"optim_wrapper\.paramwise_cfg\.bias_decay_mul=0 .*did you mean .*bias_decay_mult",
        ),
        (dict(auto_scale_lr=dict(enabel=True)), "did you mean enable"),
        (dict(log_level="LOUD"), "^log_level='LOUD' .*: choose DEBUG, INFO"),
        (dict(custom_hooks=["EMAHook"]), r"^custom_hooks=\['EMAHook'\] .*: write a list of dicts"),
        (dict(custom_hooks=dict(type="EMAHook")), r"^custom_hooks=\{.*: write a list of dicts"),
        (
            dict(optim_wrapper=dict(optimizer=dict(type="AdamWW"))),
            r"optim_wrapper\.optimizer\.type='AdamWW' .*did you mean AdamW",
        ),
        (
            dict(train_dataloader=dict(collate_fn=dict(type="default_colate"))),
            r"train_dataloader\.collate_fn\.type='default_colate' .*did you mean default_collate",
        ),
        (dict(env_cfg=dict(cudnn_benchmrk=True)), "did you mean cudnn_benchmark"),
    ],
)
def test_keys_that_mmengine_ignores_or_finds_too_late(parts, message):
    with pytest.raises(InputError, match=message):
        check_keys(config(**parts))


def test_known_keys_pass():
    checkpoint = dict(type="CheckpointHook", interval=1, save_optimizer=False, priority="LOW")
    wrapper = dict(constructor="MyConstructor", paramwise_cfg=dict(whatever=1))
    check_keys(
        config(
            default_hooks=dict(checkpoint=checkpoint, timer=None),
            optim_wrapper=wrapper,
            env_cfg=dict(mp_cfg=dict(mp_start_method="fork"), dist_cfg=dict(backend="gloo")),
        )
    )


def test_a_misspelt_default_scope():
    with pytest.raises(
        InputError, match=r"default_scope='mmpretrainn' .*did you mean mmpretrain\?"
    ):
        check_scope(Config(dict(default_scope="mmpretrainn")))
    for scope in ("mmpretrain", "mmengine", "bam_mm"):
        check_scope(Config(dict(default_scope=scope)))


def test_what_training_needs():
    arguments = Namespace(config="own.py")
    with pytest.raises(InputError, match=r"own\.py has no train_cfg, so it defines no training"):
        train(config(model=HEAD), arguments)
    with pytest.raises(InputError, match=r"own\.py has no model"):
        run_test(config(test_cfg=dict()), arguments)
