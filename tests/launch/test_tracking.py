"""The option ``--vis``: what it adds to a config, and what it refuses."""

import pytest
from mmengine.config import Config

from bam_mm import InputError
from bam_mm.launch import backends
from bam_mm.launch.tracking import backend_names, check_vis, track

LOCAL = dict(type="mmengine.LocalVisBackend")
TENSORBOARD = dict(type="bam_mm.TensorboardVisBackend", resume=True)


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: object())


def tracked(config, *names, **options):
    config = Config(config)
    track(config, names, **dict(dict(resume=True, train=True), **options))
    return config.to_dict()


@pytest.mark.parametrize(
    "visualizer, kind",
    [
        (None, "mmengine.Visualizer"),
        (dict(type="mmpretrain.UniversalVisualizer"), "mmpretrain.UniversalVisualizer"),
        (dict(type="mmseg.SegLocalVisualizer", vis_backends=LOCAL, alpha=1), "mmseg.SegLocalV"),
        (dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]), "Visualizer"),
    ],
)
def test_backends_are_added_beside_the_local_one(visualizer, kind):
    found = tracked(dict(visualizer=visualizer), "tensorboard", "MLflow")["visualizer"]
    assert found["type"].startswith(kind) and found.get("alpha") == (visualizer or {}).get("alpha")
    local, *others = found["vis_backends"]
    assert local["type"].endswith("LocalVisBackend")
    assert others == [TENSORBOARD, dict(type="mmengine.MLflowVisBackend")]


def test_arguments_and_hooks_of_the_config_are_kept():
    own = dict(type="WandbVisBackend", init_kwargs=dict(project="p"))
    views = dict(type="bam_mm.ShowViewsHook", num=2)
    config = dict(
        default_scope="mmpretrain",
        visualizer=dict(type="Visualizer", vis_backends=[own, LOCAL]),
        custom_hooks=[views],
        default_hooks=dict(logger=dict(type="LoggerHook", interval=5)),
    )
    found = tracked(config, "wandb", resume=False)
    assert found["visualizer"]["vis_backends"] == [
        dict(own, type="bam_mm.WandbVisBackend", resume=False), LOCAL,
    ]  # fmt: skip
    assert found["custom_hooks"] == [
        views, dict(type="bam_mm.TrackingHook"), dict(type="bam_mm.ShowAttentionHook"),
    ]  # fmt: skip
    assert found["default_hooks"]["logger"] == dict(
        type="LoggerHook", interval=5, log_metric_by_epoch=False
    )


def test_no_option_and_a_test_change_less():
    config = dict(default_scope="mmdet", custom_hooks=[])
    assert tracked(config) == config
    assert tracked(config, "tensorboard", train=False)["custom_hooks"] == []
    hooks = [hook["type"] for hook in tracked(config, "tensorboard")["custom_hooks"]]
    assert hooks == ["bam_mm.TrackingHook", "bam_mm.ShowViewsHook"]


def test_names_are_those_of_mmengines_classes(monkeypatch):
    assert {"local", "tensorboard", "wandb", "mlflow", "clearml", "neptune", "dvclive", "aim"} <= {
        *backend_names()
    }
    with pytest.raises(InputError, match=r"--vis tb: there is no such backend; choose .*aim, "):
        check_vis(["wandb", "tb"])
    # torch writes through tensorboard; tensorboardX alone is not enough.
    monkeypatch.setattr(backends, "find_spec", lambda name: name == "tensorboardX" or None)
    monkeypatch.delitem(backends.sys.modules, "tensorboard", raising=False)
    with pytest.raises(InputError, match="--vis tensorboard: the package tensorboard is not inst"):
        check_vis(["tensorboard"])
