"""The inferencers of mmpretrain, mmseg and mmdet with this package's configs and checkpoints."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from bam_mm import InputError
from bam_mm.data.toy import CLASS_NAMES, make_world

ROOT = Path(__file__).resolve().parents[2]
CLS = ROOT / "configs/cls/vit-toy-p8_1xb64-coslr-4e_toy.py"
LINEAR = ROOT / "configs/cls/vit-toy-p8_1xb64-linear-coslr-10e_toy.py"
SEG = ROOT / "configs/seg/vit-toy-p8_upernet_1xb4-400i_toy.py"
DET = ROOT / "configs/det/vit-toy-p8_cascade-mask-rcnn_1xb2-8e_toy.py"
QUICK = ["checkpoint=random", "train_dataloader.batch_size=4"] + [
    f"{part}_dataloader.{setting}"
    for part in ("train", "val", "test")
    for setting in ("num_workers=0", "persistent_workers=False")
]
ONE_EPOCH = [*QUICK, "train_cfg.max_epochs=1", "train_cfg.val_interval=1"]
ONE_EPOCH += ["default_hooks.checkpoint.interval=1"]
TWO_STEPS = [*QUICK, "train_cfg.max_iters=2", "train_cfg.val_interval=2"]
TWO_STEPS += ["default_hooks.checkpoint.interval=2"]
SCRIPT = """
import sys
import bam_mm
from mmdet.apis import DetInferencer
infer = DetInferencer(weights=sys.argv[1], device="cpu", show_progress=False)
[found] = infer(sys.argv[2])["predictions"]
assert set(found) == {"labels", "scores", "bboxes", "masks"}
print(infer.model.dataset_meta["classes"][-1])
"""
SCENE = (96, 128)
"""Height and width of the toy scenes in pixels."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, scale=0.012)  # 48 training images, and 4 scenes for validation
    return out


@pytest.fixture
def train(world, tool, tmp_path):
    """A function that trains a config for a few steps and returns the checkpoint's path."""

    def run(config, data, options):
        options = [f"data_root={world}/{data}", *options]
        code, text, _ = tool("train.py", config, "--work-dir", tmp_path / "w", options=options)
        assert code == 0, text[-3000:]
        [checkpoint] = (tmp_path / "w").glob("*.pth")
        return str(checkpoint)

    return run


@pytest.mark.parametrize("config", [CLS, LINEAR], ids=["fine-tuned", "linear"])
def test_classification(config, world, train, tmp_path):
    from mmpretrain import ImageClassificationInferencer

    checkpoint = train(config, "images", ONE_EPOCH)
    infer = ImageClassificationInferencer(str(config), pretrained=checkpoint, device="cpu")
    paths = sorted((world / "images/val").rglob("*.jpg"))[:2]
    [by_path, second] = infer([str(path) for path in paths], show_dir=str(tmp_path / "pictures"))
    [by_array] = infer(cv2.imread(str(paths[0])))
    assert by_path["pred_scores"].shape == (len(CLASS_NAMES),)
    assert by_path["pred_scores"].sum() == pytest.approx(1, abs=1e-5)
    assert by_path["pred_class"] == sorted(CLASS_NAMES)[by_path["pred_scores"].argmax()]
    assert np.array_equal(by_path["pred_scores"], by_array["pred_scores"])
    assert not np.array_equal(by_path["pred_scores"], second["pred_scores"])
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2


def test_segmentation(world, train, tmp_path):
    from mmseg.apis import MMSegInferencer

    checkpoint = train(SEG, "ade20k", TWO_STEPS)
    infer = MMSegInferencer(str(SEG), weights=checkpoint, device="cpu")
    names = Config.fromfile(SEG).metainfo.classes
    assert list(infer.model.dataset_meta["classes"]) == list(names) and len(names) == 10
    paths = sorted((world / "ade20k/images/validation").glob("*.jpg"))
    [path] = [str(path) for path in paths[:1]]
    by_path = infer(path, return_vis=True, out_dir=str(tmp_path / "out"))
    by_array = infer(cv2.imread(path))
    assert by_path["predictions"].shape == SCENE and by_path["predictions"].max() < len(names)
    assert by_path["visualization"].shape == (*SCENE, 3)
    assert np.array_equal(by_path["predictions"], by_array["predictions"])
    assert len(infer([str(p) for p in paths], batch_size=2)["predictions"]) == 4
    assert len(list((tmp_path / "out/vis").iterdir())) == 1
    assert_a_truncated_image_stops(infer, path, tmp_path)


def test_detection(world, train, tmp_path):
    from mmdet.apis import DetInferencer

    checkpoint = train(DET, "coco", ONE_EPOCH)
    infer = DetInferencer(str(DET), weights=checkpoint, device="cpu", show_progress=False)
    names = Config.fromfile(DET).metainfo.classes
    assert list(infer.model.dataset_meta["classes"]) == list(names) and len(names) == 9
    # After so short a training, all scores are low.
    infer.model.roi_head.test_cfg.score_thr = 0.0
    paths = sorted((world / "coco/val").glob("*.jpg"))
    [path] = [str(path) for path in paths[:1]]
    out = infer(path, return_vis=True, return_datasamples=True, out_dir=str(tmp_path / "out"))
    [found], [picture] = out["predictions"], out["visualization"]
    [again] = infer(cv2.imread(path), return_datasamples=True)["predictions"]
    found, again = found.pred_instances, again.pred_instances
    assert 0 < len(found) <= 100 and found.masks.shape == (len(found), *SCENE)
    assert int(found.labels.max()) < len(names) and picture.shape == (*SCENE, 3)
    assert found.scores.equal(again.scores) and found.bboxes.equal(again.bboxes)
    assert found.masks.any() and found.masks.equal(again.masks)
    plain = infer([str(p) for p in paths], batch_size=2)["predictions"]
    assert len(plain) == 4 and plain[0]["labels"] == found.labels.tolist()
    assert len(list((tmp_path / "out/vis").iterdir())) == 1
    assert_a_truncated_image_stops(infer, path, tmp_path)
    # In a new process, with the config that the checkpoint contains.
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, checkpoint, path], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.split()[-1] == names[-1]


@pytest.mark.parametrize(
    "path",
    [
        path
        for kind in ("det", "seg")
        for path in sorted((ROOT / "configs" / kind).glob("*.py"))
        if "dense-knn" not in path.stem  # A bank is no model for an inferencer.
    ],
    ids=lambda path: path.stem,
)
def test_the_pipeline_of_each_dense_config(path, world):
    from mmdet.apis import DetInferencer
    from mmseg.apis import MMSegInferencer

    kind = {"det": DetInferencer, "seg": MMSegInferencer}[path.parent.name]
    config = Config.fromfile(path)
    init_default_scope(config.default_scope)
    run = kind.__new__(kind)._init_pipeline(config)  # Without the model, which can be large.
    [file, *_] = (world / "coco/val").glob("*.jpg")
    by_path, by_array = run(str(file)), run(cv2.imread(str(file)))
    assert by_path["inputs"].shape[0] == 3 and by_path["inputs"].equal(by_array["inputs"])
    assert by_path["data_samples"].ori_shape == by_array["data_samples"].ori_shape == SCENE


def assert_a_truncated_image_stops(infer, path, folder):
    broken = folder / "broken.jpg"
    data = Path(path).read_bytes()
    broken.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"broken\.jpg is truncated"):
        infer(str(broken))
