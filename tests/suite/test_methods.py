"""Methods of a suite: their definitions, the order of their runs, and what the log tells."""

import hashlib
from argparse import Namespace
from dataclasses import replace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from bam_mm import InputError
from bam_mm.checkpoint import load_backbone
from bam_mm.cli.benchmark import parse_args
from bam_mm.cli.benchmark_commands import parse_options, show, worker_arguments
from bam_mm.data.toy import make_world
from bam_mm.models.siamese import features_of
from bam_mm.registry import MODELS
from bam_mm.suite import options as sharing
from bam_mm.suite.definitions import FOLDER, load_suite
from bam_mm.suite.models import read_models
from bam_mm.suite.planning import Settings, plan
from bam_mm.suite.pretraining import CLOCK, add_measurements
from bam_mm.suite.pretraining_checks import check_methods
from bam_mm.suite.records import write_json
from bam_mm.suite.validating import validate
from bam_mm.variables.entries import plain

RANDOM = "random=random:vit-toy-p8"
SUITE = """
title, about = "Two", "for tests"
pretraining = [
    dict(name="bam", title="BAM", config="bam_mm::pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy.py",
        data=dict(title="toy", root="toy/images")),
    dict(name="other", config="bam_mm::pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy-no-teacher.py",
        data=dict(title="toy", root="toy/images"), options={"max_epochs": 3}),
]
tasks = [
    dict(name="knn", title="kNN", about="votes", kind="test", cost="nothing",
        config="bam_mm::cls/vit-toy-p8_knn_toy.py", data=dict(title="toy", root="toy/images"),
        metrics={"knn_k20/top1": dict(label="top-1", main=True)}, steady=True),
]
"""


def suite_of(folder, *changes):
    text = SUITE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "two.py").write_text(text)
    return load_suite(folder / "two.py")


def runs(folder, *, names=None, models=(), tasks=("knn",), seeds=(0, 1), **settings):
    suite = load_suite("methods-toy")
    methods = suite.choose_methods(names)
    settings = Settings(folder=folder / "w", data=folder, **settings)
    names = [name for each in suite.methods for name in (each.name, each.title)]
    found = read_models(list(models), reserved=names)
    return plan(suite, suite.choose([*tasks]), found, [*seeds], settings, methods)


def test_a_suite_names_its_methods(tmp_path):
    suite = suite_of(tmp_path)
    assert [(m.name, m.title) for m in suite.methods] == [("bam", "BAM"), ("other", "other")]
    assert [task.name for task in suite.tasks] == ["pretrain", "knn"]
    assert [m.name for m in suite.choose_methods(["other"])] == ["other"]
    with pytest.raises(InputError, match=r"--methods dino: the suite two has bam, other"):
        suite.choose_methods(["bam", "dino"])
    with pytest.raises(InputError, match="the suite toy pretrains nothing; leave the option out"):
        load_suite("toy").choose_methods(["bam"])


@pytest.mark.parametrize(
    "change, message",
    [
        (('name="other"', 'name="bam"'), "names and titles of methods must be unique"),
        (('name="other"', 'name="other", title="BAM"'), r"must be unique.*\(BAM, BAM\)"),
        (('name="other"', 'name="knn"'), "task and method names must be unique"),
        (('name="other"', 'name="Bam"'), r"names and titles of methods must be unique"),
        (('name="other"', 'name="/"'), "a method needs a name with letters or digits"),
        (('name="other"', 'name="other", lr=1'), r"method 'other': invalid method \(unknown: lr\)"),
        (('options={"max_epochs": 3}', "options=3"), "method 'other': options=3 must be a dict"),
        (("no-teacher.py", "no-such.py"), "method 'other': .*no-such.py"),
        (
            ('root="toy/images")),\n    dict(name="o', 'roof="x")),\n    dict(name="o'),
            "unknown: roof",
        ),
        (("pretraining = [", "pretraining = ['x', "), "method 'x' must be a dict"),
        (("pretraining = [", "pretraining = 3\n_ = ["), "pretraining must be a list of dicts"),
    ],
)
def test_wrong_methods_are_named(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        suite_of(tmp_path, change)


def test_each_method_and_seed_is_pretrained_before_it_is_evaluated(tmp_path):
    plan = runs(tmp_path, models=(RANDOM,), tasks=("knn", "linear"))
    assert [str(run) for run in plan[:5]] == [
        "pretrain, BAM, seed 0",
        "pretrain, BAM, seed 1",
        "pretrain, BAM without teacher, seed 0",
        "pretrain, BAM without teacher, seed 1",
        "knn, BAM, seed 0",
    ]
    # kNN is deterministic for trained weights, but those of the seeds differ.
    knn = [str(run) for run in plan if run.task.name == "knn"]
    assert knn == [
        f"knn, {name}, seed {seed}" for name in ("BAM", "BAM without teacher", "random")
        for seed in (0, 1)
    ]  # fmt: skip
    first = {run.record: run for run in plan[:4]}
    for run in plan[4:]:
        if run.model.method:
            assert first[run.pretraining.record].seed == run.seed
            assert run.pretraining.model == run.model
        else:
            assert run.pretraining is None
    folder = tmp_path / "w"
    assert plan[1].folder == folder / "runs/bam/pretrain/seed1"
    assert plan[1].record == folder / "records/bam/pretrain/seed1.json"
    assert len({run.bundle for run in plan if run.task.name == "knn"}) == 6
    # Without a --model, and without naming the pretraining.
    assert len(runs(tmp_path, names=["bam"], seeds=(3,))) == 2
    assert [str(run) for run in runs(tmp_path, names=["bam"], tasks=("pretrain",))] == [
        "pretrain, BAM, seed 0", "pretrain, BAM, seed 1"
    ]  # fmt: skip


def test_models_do_not_share_the_folder_of_a_method(tmp_path):
    for name, taken in (("bam", "BAM"), ("BAM", "BAM"), ("bam without Teacher", "BAM without t")):
        with pytest.raises(InputError, match=f"--model {name}: {taken}.* is a method of the suite"):
            # Also if this method is not pretrained in this call.
            runs(tmp_path, models=(f"{name}=random:vit-toy-p8",), names=["bam-no-teacher"])
    with pytest.raises(InputError, match="no model: pass at least one"):
        read_models([])
    with pytest.raises(InputError, match="--size 32: it holds for what --model names"):
        read_models([], sizes=["32"], reserved=["bam"])


def test_options_of_all_methods_and_of_one(tmp_path):
    options = parse_options(["pretrain:max_epochs=3", "bam:custom_hooks.1.warmup=7"])
    one, other = runs(tmp_path, tasks=("pretrain",), seeds=(5,), options=options)
    config, adapted = one.config()
    assert (config.train_cfg.max_epochs, config.custom_hooks[1].warmup) == (3, 7)
    assert config.randomness.seed == 5 and config.default_hooks.checkpoint.max_keep_ckpts == 1
    assert config.custom_hooks[-1].type == "bam_mm.TrainingClockHook" and adapted == []
    assert config.train_dataloader.dataset.data_root == str(tmp_path / "toy/images")
    assert one.user_options.keys() == {"max_epochs", "custom_hooks.1.warmup"}
    assert other.user_options.keys() == {"max_epochs"}
    # Settings in which methods may differ from each other, but not the seeds of one.
    assert one.protocol["batch"] == 64 and one.protocol["boxes"]["start"] is None
    assert one.model.pretraining != runs(tmp_path, names=["bam"])[0].model.pretraining
    with pytest.raises(InputError, match=r"dino:\.\.\..*has no such task; it has pretrain, knn"):
        runs(tmp_path, options=parse_options(["dino:max_epochs=3"]))


def test_the_suites_own_options_reach_the_pretraining(tmp_path):
    suite = suite_of(tmp_path)
    settings = Settings(folder=tmp_path, data=tmp_path)
    [bam, other] = plan(suite, suite.tasks[:1], [], [0], settings, suite.methods)
    assert bam.config()[0].train_cfg.max_epochs == 12
    assert other.config()[0].train_cfg.max_epochs == 3
    assert other.protocol["train_cfg"]["max_epochs"] == 3 and other.user_options == {}


def test_the_protocol_holds_the_initial_weights_and_not_how_boxes_are_read(tmp_path):
    def protocol(**options):
        [run] = runs(
            tmp_path, names=["bam"], tasks=("pretrain",), seeds=(0,), options={"bam": options}
        )
        return run.protocol, run.model.pretraining

    start = protocol()
    assert "initial" not in start[0]
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"1")
    first = protocol(load_from=str(weights))
    [digest] = first[0]["initial"].values()
    assert digest == hashlib.sha256(b"1").hexdigest()
    weights.write_bytes(b"2")
    second = protocol(load_from=str(weights))
    assert len({start[1], first[1], second[1]}) == 3
    init = {"model.backbone.init_cfg": dict(type="Pretrained", checkpoint=str(weights))}
    assert protocol(**init)[0]["initial"]["model.backbone.init_cfg"]["type"] == "Pretrained"
    boxes = "default_hooks.boxes"
    reading = {f"{boxes}.loader.num_workers": 3, f"{boxes}.loader.batch_size": 7}
    assert protocol(**reading) == start
    assert protocol(**{f"{boxes}.branch": "student"})[1] != start[1]


OTHER = (
    "bam_mm::pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy-no-teacher.py",
    "bam_mm::methods/simclr_vit-toy-p8_1xb64-coslr-2e_toy.py",
)
"""A method whose config has other settings than that of BAM."""


def test_an_option_for_all_reaches_the_methods_that_have_it(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(sharing, "print_log", lambda text, **_: lines.append(text))
    suite = suite_of(tmp_path, OTHER, ('options={"max_epochs": 3}', "options={}"))

    def planned(*words):
        settings = Settings(folder=tmp_path, data=tmp_path, options=parse_options(words))
        return plan(suite, suite.tasks, [], [0], settings, suite.methods)

    bam, other, *_ = planned("model.head.target_temperature=0.3")
    assert bam.config()[0].model.head.target_temperature == 0.3 and other.user_options == {}
    assert lines == [
        "--cfg-options model.head.target_temperature: the tasks pretraining of other, knn have no "
        "such setting and run without it"
    ]
    for prefix in ("pretrain", "other"):
        with pytest.raises(InputError, match=r"^method other: .*model\.head\.target_temperature"):
            planned(f"{prefix}:model.head.target_temperature=0.3")


def test_tasks_fit_the_network_that_the_options_choose(tmp_path):
    knn = "cls/vit-toy-p8_knn_toy.py"
    both = f'dict(vit="bam_mm::{knn}", cnn="bam_mm::cls/resnet18-w16_knn_cifar10.py")'
    suite = suite_of(tmp_path, (f'"bam_mm::{knn}"', both))
    network = dict(
        _delete_=True, type="mmpretrain.ResNet_CIFAR", depth=18, stem_channels=16, base_channels=16
    )
    own = {"model.backbone": network, "+custom_imports": dict(imports=["json"])}

    def planned():
        settings = Settings(folder=tmp_path, data=tmp_path, options={"bam": own})
        return plan(suite, suite.tasks, [], [0], settings, suite.methods)

    runs = {(run.task.name, run.model.method): run for run in planned()}
    assert runs["pretrain", "bam"].family == runs["knn", "bam"].family == "cnn"
    assert runs["knn", "bam"].variant == "cnn" and runs["knn", "other"].variant == "vit"
    # A module that registers the network is imported where the network is evaluated, too.
    assert runs["knn", "bam"].config()[0].custom_imports["imports"] == ["bam_mm", "json"]
    assert runs["knn", "other"].config()[0].custom_imports["imports"] == ["bam_mm"]
    own["model.backbone"] = dict(network, type="mmpretrain.Reset")
    with pytest.raises(
        InputError, match=r"method bam: .*Reset does not build it \(KeyError: .*cfg-"
    ):
        planned()
    own["model.backbone"] = dict(network, depth=19)
    with pytest.raises(InputError, match=r"method bam: mmpretrain\.ResNet_CIFAR does not build it"):
        planned()


def test_a_method_that_counts_no_epochs_is_refused(tmp_path):
    options = {"bam": {"train_cfg.type": "IterBasedTrainLoop"}}
    with pytest.raises(InputError, match=r"method bam: train_cfg of .*EpochBasedTrainLoop"):
        runs(tmp_path, names=["bam"], options=options)


def test_a_limit_and_a_clock_of_the_config(tmp_path):
    config = Config(dict(custom_hooks=[CLOCK, dict(type="bam_mm.OnlineKNNHook", k=20)]))
    assert add_measurements(config, limit=100) == ["k of the online kNN: 20 -> 5, for --limit 100"]
    assert config.custom_hooks == [CLOCK, dict(type="bam_mm.OnlineKNNHook", k=5)]
    assert add_measurements(config, limit=None) == []


class NeedsAPackage:
    def __init__(self, **_):
        raise InputError("NeedsAPackage needs lightly: pip install lightly")


def test_a_method_that_cannot_be_built_stops_the_call_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, "NeedsAPackage", NeedsAPackage)
    plan = runs(tmp_path, names=["bam"])
    check_methods(plan)
    path = tmp_path / "broken.py"
    text = plan[0].task.config["bam"].read_text()
    path.write_text(
        text.replace("bam_mm.BAM\"", "bam_mm.NeedsAPackage\"").replace(
            "../_base_", str(plan[0].task.config["bam"].parents[1] / "_base_")
        )
    )  # fmt: skip
    bam, other = runs(tmp_path, seeds=(0,), tasks=("pretrain",))
    broken = [
        replace(run, task=replace(run.task, config={run.variant: path})) for run in (bam, other)
    ]
    with pytest.raises(
        InputError, match=r"method bam: NeedsAPackage needs lightly.* --methods bam-no-teacher$"
    ):
        check_methods([broken[0], other])
    with pytest.raises(InputError, match=r"method bam: Needs.*method bam-no-teacher: .*lightly$"):
        check_methods(broken)


def test_the_list_has_a_row_for_each_method(tmp_path, capsys):
    suite_of(tmp_path, ('options={"max_epochs": 3}', 'options={"max_epochs": 3}, cost="a year"'))
    assert show(Namespace(suite=str(tmp_path / "two.py"))) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Pretraining: 12 epochs, 64" in text and "Pretraining: 3 epochs, 64" in text
    assert "12 or 3 epochs" not in text and "a year" in text


@pytest.mark.slow
def test_methods_are_validated_with_a_limit(tmp_path):
    make_world(tmp_path / "toy", scale=0.012)
    findings = [*validate(runs(tmp_path, names=["bam"], seeds=(0,), limit=20))]
    assert all(finding.ok for finding in findings), findings
    [text] = [finding.text for finding in findings if finding.text.startswith("method bam: BAM")]
    assert "million parameters" in text and "20" in text
    config, adapted = runs(tmp_path, names=["bam"], seeds=(0,), limit=20)[0].config()
    assert config.train_dataloader.batch_size == 20 and "for --limit 20" in adapted[0]


def test_workers_are_started_with_the_same_methods(tmp_path):
    args = parse_args(["run", "methods-toy", "--methods", "bam", "--work-dir", str(tmp_path)])
    words = worker_arguments(Namespace(**vars(args)), load_suite("methods-toy"))
    assert words[words.index("--methods") + 1] == "bam"
    assert not any(word.startswith("--model=") for word in words)
    assert parse_args(words[1:]).methods == ["bam"]


MASKED = """
model = dict(
    type="MAE",
    backbone=dict(type={kind!r}, arch=dict(embed_dims=48, num_layers=2, num_heads=4,
        feedforward_channels=96), img_size=32, patch_size=4, {more}),
    data_preprocessor=dict(type="SelfSupDataPreprocessor", mean=[1.0, 2.0, 3.0],
        std=[4.0, 5.0, 6.0], to_rgb=True),
)
default_scope = "mmpretrain"
train_cfg = dict(by_epoch=True, max_epochs=2)
data_root = "x"
train_dataloader = dict(batch_size=8, dataset=dict(type="bam_mm.ImageFolder", data_root=data_root))
"""


@pytest.mark.parametrize(
    "kind, more",
    [("MAEViT", "mask_ratio=0.5"), ("BEiTPretrainViT", "layer_scale_init_value=0.1")],
)
def test_a_masking_method_is_evaluated_without_masks_by_the_tasks_of_the_others(
    tmp_path, kind, more
):
    (tmp_path / "masked.py").write_text(MASKED.format(kind=kind, more=more))
    file = FOLDER / "methods-short.py"
    suite = f"_base_ = {str(file)!r}\npretraining = [dict(_base_.pretraining[0], name='mae', "
    (tmp_path / "own.py").write_text(suite + "title='MAE', config='masked.py')]\n")
    suite = load_suite(tmp_path / "own.py")
    settings = Settings(folder=tmp_path / "w", data=tmp_path)
    made, *others = plan(suite, suite.tasks, [], [0], settings, suite.methods)
    init_default_scope("mmpretrain")
    state = MODELS.build({"type": kind, **made.config()[0].model.backbone}).state_dict()
    path = tmp_path / "w/runs/mae/pretrain/seed0/epoch_2.pth"
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": {f"backbone.{k}": v for k, v in state.items()}}, path)
    checkpoint = {"file": str(path.relative_to(tmp_path / "w")), "sha256": "0"}
    model = plain(made.model.facts())
    write_json(made.record, {"status": "done", "model": model, "checkpoint": checkpoint})
    tasks = ["knn", "knn-k200", "logreg", "cluster", "linear"]
    assert [run.task.name for run in others] == tasks
    for run in others:
        config, _ = run.with_checkpoint().config()
        model = MODELS.build(config.model).eval()
        report = load_backbone(model.backbone, path)
        # Only the token that stands for masked patches is left.
        assert {key.rpartition(".")[2] for key in report.unused} <= {"mask_token"}
        images = torch.randn(2, 3, 32, 32)
        one, two = model.extract_feat(images), model.extract_feat(images)
        one, two = (x[-1] if isinstance(x, (tuple, list)) else x for x in (one, two))
        # The feature of the online kNN: [CLS], or the mean patch where the loss leaves out [CLS].
        # The linear probe takes both.
        online = features_of(model.backbone, images)
        assert torch.equal(one, two) and torch.allclose(one[:, :48], online, atol=1e-6)
        both = run.task.name == "linear" and kind == "MAEViT"
        assert one.shape == (2, 96 if both else 48)
        place = config.model.get("data_preprocessor") or config.data_preprocessor
        assert list(place.mean) == [1.0, 2.0, 3.0]
