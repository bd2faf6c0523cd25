"""Hits and misses of the feature cache, damaged files, interrupted and impossible writes."""

import json
import os
import shutil

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from bam_mm import FrozenFeatures, ImageFolder
from bam_mm.data.toy import make_world
from bam_mm.models.feature_extraction import EVALUATION_SAMPLER
from bam_mm.protocols import feature_cache
from bam_mm.protocols.feature_cache import cached_features, read_features
from bam_mm.protocols.feature_digests import key_of

pytestmark = pytest.mark.slow

BACKBONE = dict(type="mmpretrain.ResNet_CIFAR", depth=18, stem_channels=4, base_channels=4)


def pipeline(crop=32):
    return [
        dict(type="bam_mm.LoadImage"),
        dict(type="CenterCrop", crop_size=crop),
        dict(type="PackInputs", meta_keys=("sample_idx", "img_path")),
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    make_world(root, scale=0.001)  # two images a class
    return root / "images/train"


@pytest.fixture
def world(made, tmp_path):
    shutil.copytree(made, tmp_path / "images/train")
    return tmp_path / "images"


class Bench:
    """One backbone and one data set; counts the forward passes of the backbone."""

    def __init__(self, root, cache):
        init_default_scope("mmpretrain")
        torch.manual_seed(0)
        self.root, self.cache, self.crop = root, cache, 32
        self.settings = dict(model=dict(backbone=BACKBONE, feature="mean"))
        self.model = FrozenFeatures(BACKBONE, feature="mean")
        self.calls = 0
        self.model.backbone.register_forward_hook(lambda *args: self.count())

    def count(self):
        self.calls += 1

    def loader(self):
        return Runner.build_dataloader(
            dict(
                batch_size=5,
                num_workers=0,
                sampler=dict(EVALUATION_SAMPLER),
                collate_fn=dict(type="default_collate"),
                dataset=ImageFolder(str(self.root), split="train", pipeline=pipeline(self.crop)),
            )
        )

    def run(self, loader=None):
        """Return features, labels and the number of batches that the backbone has processed."""
        loader = loader or self.loader()
        before = self.calls
        features, labels = cached_features(
            self.model,
            self.model.data_preprocessor,
            loader,
            folder=self.cache,
            settings={**self.settings, "pipeline": pipeline(self.crop)},
            description="test",
        )
        return features, labels, self.calls - before


@pytest.fixture
def bench(world, tmp_path):
    return Bench(world, tmp_path / "cache")


def test_a_hit_skips_the_backbone_and_returns_the_same(bench):
    features, labels, calls = bench.run()
    assert calls == 4 and features.shape == (18, 32) and labels.tolist() == sorted(labels.tolist())
    again, same_labels, calls = bench.run()
    assert calls == 0 and torch.equal(again, features) and torch.equal(same_labels, labels)
    (about,) = (json.loads(p.read_text()) for p in bench.cache.glob("*.json"))
    assert about["rows"] == 18 and about["width"] == 32 and about["what"] == "test"
    assert about["settings"]["model"]["feature"] == "mean"
    stems = {p.stem for p in bench.cache.iterdir()}
    assert len(stems) == 1 and len(list(bench.cache.iterdir())) == 2
    bench.cache = None
    assert bench.run()[2] == 4  # nothing written, nothing read


def change_a_weight(bench):
    bench.model.backbone.conv1.weight.data[0, 0, 0, 0] += 1e-6


def change_a_buffer(bench):
    bench.model.backbone.layer1[0].norm1.running_mean[0] += 1e-3


def change_a_file(bench):
    file = next((bench.root / "train").rglob("*.jpg"))
    facts = file.stat()
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))


def delete_a_file(bench):
    next((bench.root / "train").rglob("*.jpg")).unlink()


def rename_a_class(bench):
    folder = min((bench.root / "train").iterdir())
    folder.rename(folder.with_name("a_first"))


def change_a_transform(bench):
    bench.crop = 24


def change_the_feature(bench):
    bench.settings = dict(model=dict(backbone=BACKBONE, feature="other"))


@pytest.mark.parametrize(
    "change",
    [
        change_a_weight, change_a_buffer, change_a_file, delete_a_file, rename_a_class,
        change_a_transform, change_the_feature,
    ],
)  # fmt: skip
def test_any_change_is_a_miss(bench, change):
    bench.run()
    assert bench.run()[2] == 0
    change(bench)
    assert bench.run()[2] == 4
    assert len(list(bench.cache.glob("*.safetensors"))) == 2


def cut_short(data):
    return data[: len(data) // 2]


def flip_a_bit(data):
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


@pytest.mark.parametrize(
    "damage", [cut_short, flip_a_bit, lambda data: b"", lambda data: b"x" * 99]
)
def test_damage_is_noticed_logged_and_fixed(bench, damage, monkeypatch):
    messages = []
    monkeypatch.setattr(feature_cache, "print_log", lambda text, **kwargs: messages.append(text))
    features, _, _ = bench.run()
    (path,) = bench.cache.glob("*.safetensors")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    again, _, calls = bench.run()
    assert calls == 4 and torch.equal(again, features)
    assert any(f"{path} are damaged" in text for text in messages)
    assert path.read_bytes() == whole and bench.run()[2] == 0


def test_a_file_of_another_data_set_is_rejected(bench):
    bench.run()
    (path,) = bench.cache.glob("*.safetensors")
    assert read_features(path, rows=18) is not None and read_features(path, rows=17) is None
    assert read_features(bench.cache / "none.safetensors", rows=18) is None


def test_a_killed_write_leaves_no_file(bench, monkeypatch):
    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(feature_cache.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    monkeypatch.undo()
    assert list(bench.cache.iterdir()) == []
    assert bench.run()[2] == 4 and bench.run()[2] == 0


def test_a_folder_that_cannot_be_written_is_logged_and_the_run_continues(
    bench, tmp_path, monkeypatch
):
    messages = []
    monkeypatch.setattr(feature_cache, "print_log", lambda text, **kwargs: messages.append(text))
    (tmp_path / "file").write_text("")
    bench.cache = tmp_path / "file/cache"
    features, _, calls = bench.run()
    assert calls == 4 and len(features) == 18
    assert any("features are not cached" in text and "cache_dir=" in text for text in messages)


def test_keys_depend_on_values_and_not_on_their_order():
    assert key_of({"a": 1, "b": (1, 2)}) == key_of({"b": [1, 2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
