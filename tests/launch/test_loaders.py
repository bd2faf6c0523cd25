"""Loaders without workers, and packages of the visualizer's backends."""

from argparse import Namespace

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from bam_mm import InputError
from bam_mm.launch import backends
from bam_mm.launch.backends import check_backends
from bam_mm.launch.loaders import fit_loaders
from bam_mm.launch.runner import prepare


def loader(**kw):
    return dict(batch_size=2, sampler=dict(type="DefaultSampler", shuffle=False), **kw)


@pytest.mark.parametrize("scope", ["mmpretrain", "mmdet", "mmseg"])
def test_loaders_without_workers_load(scope):
    settings = dict(persistent_workers=True, prefetch_factor=4, dataset=[1, 2, 3])
    config = Config(
        dict(
            default_scope=scope,
            train_dataloader=loader(num_workers=0, **settings),
            val_dataloader=loader(**settings),  # torch's default is no worker
            test_cfg=dict(type="X", bank=loader(num_workers=0, **settings)),
            default_hooks=dict(boxes=dict(loader=dict(num_workers=0, prefetch_factor=2))),
            test_dataloader=loader(num_workers=1, **settings),
        )
    )
    prepare(config, Namespace(launcher="none", work_dir="w", config="c.py"))
    kept = config.test_dataloader
    assert (kept.persistent_workers, kept.prefetch_factor) == (True, 4)
    assert config.default_hooks.boxes.loader == dict(num_workers=0)
    for part in (config.train_dataloader, config.val_dataloader, config.test_cfg.bank):
        part = {key: value for key, value in part.items() if key != "collate_fn"}
        assert [len(batch) for batch in Runner.build_dataloader(part)] == [2, 1]


@pytest.mark.parametrize(
    "name, value, least",
    [("num_workers", -1, 0), ("num_workers", 1.5, 0), ("batch_size", 0, 1), ("batch_size", "8", 1)],
)
def test_impossible_numbers(name, value, least):
    part = {**loader(num_workers=1, dataset=[1]), name: value}
    with pytest.raises(
        InputError, match=rf"test_cfg\.bank\.{name}={value!r}: .*least {least}; set"
    ):
        fit_loaders(Config(dict(test_cfg=dict(bank=part))))


@pytest.mark.parametrize(
    "kind, package",
    [
        ("mmengine.TensorboardVisBackend", "tensorboard"),
        ("WandbVisBackend", "wandb"),
        ("MLflowVisBackend", "mlflow"),
        ("AimVisBackend", "aim"),
        ("DVCLiveVisBackend", "dvclive"),
    ],
)
def test_a_missing_package_of_a_backend(monkeypatch, kind, package):
    entries = [dict(type="LocalVisBackend"), dict(type=kind)]
    config = Config(dict(visualizer=dict(type="Visualizer", vis_backends=entries)))
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    monkeypatch.delitem(backends.sys.modules, package, raising=False)
    message = (
        rf"vis_backends\.1\.type='{kind[-8:]}.*|package {package} is not installed; run `.*pip"
    )
    with pytest.raises(InputError, match=message) as caught:
        check_backends(config)
    assert f"-m pip install {package}`" in str(caught.value)
    monkeypatch.setattr(backends, "find_spec", lambda name: object())
    check_backends(config)
