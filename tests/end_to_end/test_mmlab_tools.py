"""The tools of mmpretrain, mmdet and mmseg with this package's configs, checkpoints and logs.

They run as ``bam-mm exec LIBRARY:TOOL``, in this process.
"""

import json
import re
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import mmengine
import numpy as np
import pytest
from mmengine.config import Config

from bam_mm.data.toy import CLASS_NAMES, make_world
from tests.end_to_end.running import command

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {
    "cls": ROOT / "configs/cls/vit-toy-p8_1xb64-coslr-4e_toy.py",
    "linear": ROOT / "configs/cls/vit-toy-p8_1xb64-linear-coslr-10e_toy.py",
    "knn": ROOT / "configs/cls/vit-toy-p8_knn_toy.py",
    "vos": ROOT / "configs/vos/vit-toy-p8_label-propagation_toy.py",
    "pretrain": ROOT / "configs/pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy.py",
    "multi-crop": ROOT / "configs/pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy-multi-crop.py",
    "seg": ROOT / "configs/seg/vit-toy-p8_upernet_1xb4-400i_toy.py",
    "det": ROOT / "configs/det/vit-toy-p8_cascade-mask-rcnn_1xb2-8e_toy.py",
}
FOLDERS = {"seg": "ade20k", "det": "coco"}
LIBRARIES = {"cls": "mmpretrain", "seg": "mmseg", "det": "mmdet"}
MEAN, STD = [127.5] * 3, [64.0] * 3
"""Another normalisation than the config of the classifier states."""

QUICK = ["checkpoint=random", "default_hooks.logger.interval=1"] + [
    f"{part}_dataloader.{setting}"
    for part in ("train", "val", "test")
    for setting in ("num_workers=0", "persistent_workers=False")
]
STEPS = {
    "cls": [
        "train_cfg.max_epochs=1", "train_cfg.val_interval=1", "train_dataloader.batch_size=16",
        "default_hooks.checkpoint.interval=1", f"preprocessing.mean={MEAN}",
        f"preprocessing.std={STD}",
    ],
    "seg": ["train_cfg.max_iters=2", "train_cfg.val_interval=2",
            "default_hooks.checkpoint.interval=2"],
    # After so short a training, all scores are low.
    "det": ["train_cfg.max_epochs=1", "train_cfg.val_interval=1",
            "model.test_cfg.rcnn.score_thr=0.0", "model.test_cfg.rcnn.max_per_img=20"],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def headless():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plt, "show", lambda *args, **kwargs: None)
        yield
    plt.close("all")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, scale=0.012)  # 48 training images, and 4 scenes for validation
    return out


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    """The dumped config and the checkpoint of a short training, by the kind of its task."""

    def train(kind):
        if kind not in runs:
            work = tmp_path_factory.mktemp(kind)
            options = [f"data_root={world}/{FOLDERS.get(kind, 'images')}", *QUICK, *STEPS[kind]]
            command("train", CONFIGS[kind], "--work-dir", work, "--cfg-options", *options)
            [config], [checkpoint] = work.glob("*.py"), work.glob("*.pth")
            runs[kind] = config, checkpoint
        return runs[kind]

    runs = {}
    return train


def scene_files(world, kind):
    folder = {"det": "coco/val", "seg": "ade20k/images/validation", "cls": "images/val"}[kind]
    return sorted((world / folder).rglob("*.jpg"))


def log_of(work):
    [path] = [p for p in work.glob("*/vis_data/*.json") if p.name != "scalars.json"]
    return path, [json.loads(line) for line in path.read_text().splitlines()]


def run_test(capfd, metric, *args):
    """Run a test; return its output, and the logged value of a metric."""
    capfd.readouterr()
    command(*args)
    text = "".join(capfd.readouterr())
    return text, float(re.findall(rf" {metric}: ([0-9.]+)", text)[-1])


# test.py, and the numbers of the inferencers.


def test_classification(world, trained, tmp_path, capfd):
    from mmpretrain import ImageClassificationInferencer

    config, checkpoint = trained("cls")
    kept = Config.fromfile(config)
    assert kept.data_preprocessor.mean == MEAN and kept.data_preprocessor.std == STD
    work, dump = tmp_path / "work", tmp_path / "predictions.pkl"
    text, theirs = run_test(
        capfd, "accuracy/top1", "exec", "mmpretrain:test", config, checkpoint, "--work-dir", work,
        "--show-dir", tmp_path / "shown", "--out", dump,
    )  # fmt: skip
    assert "was trained with" not in text
    files = scene_files(world, "cls")
    # Our tool takes the preprocessing from the checkpoint, whatever the config file states.
    options = [f"data_root={world}/images", "test_dataloader.num_workers=0",
               "test_dataloader.persistent_workers=False"]  # fmt: skip
    _, ours = run_test(
        capfd, "accuracy/top1", "test", CONFIGS["cls"], checkpoint, "--work-dir", work,
        "--cfg-options", *options,
    )  # fmt: skip
    assert theirs == ours
    pictures = sorted((tmp_path / "shown").iterdir())
    assert len(pictures) == len(files)
    # The images as the model sees them, with the class in words.
    assert cv2.imread(str(pictures[0])).shape == (48, 48, 3)
    infer = ImageClassificationInferencer(str(config), str(checkpoint), device="cpu")
    found = infer([str(file) for file in files], batch_size=len(files))
    by_name = {sample["img_path"]: sample for sample in mmengine.load(dump)}
    for file, result in zip(files, found, strict=True):
        scores = by_name[str(file)]["pred_score"].numpy()
        assert np.allclose(scores, result["pred_scores"], atol=1e-6)
    right = [r["pred_class"] == f.parent.name for r, f in zip(found, files, strict=True)]
    assert 100 * np.mean(right) == pytest.approx(ours, abs=1e-3)


def test_a_config_with_another_preprocessing_than_the_checkpoint_warns(
    world, trained, tmp_path, capfd
):
    _, checkpoint = trained("cls")
    loader = "test_dataloader.dataset"
    text, _ = run_test(
        capfd, "accuracy/top1", "exec", "mmpretrain:test", CONFIGS["cls"], checkpoint,
        "--work-dir", tmp_path, "--cfg-options", f"{loader}.data_root={world}/images",
        "test_dataloader.num_workers=0", "test_dataloader.persistent_workers=False",
    )  # fmt: skip
    assert f"{checkpoint} was trained with mean (127.5, 127.5, 127.5), std (64, 64, 64)" in text
    assert "test with the config in the work folder" in text


def test_detection(world, trained, tmp_path):
    from mmdet.apis import DetInferencer

    config, checkpoint = trained("det")
    work = tmp_path / "theirs"
    command("exec", "mmdet:test", config, checkpoint, "--work-dir", work, "--show-dir", "shown")
    files = scene_files(world, "det")
    [shown] = work.glob("*/shown")
    assert sorted(path.name for path in shown.iterdir()) == [file.name for file in files]
    for file in files:
        truth, predicted = np.hsplit(cv2.imread(str(shown / file.name)).astype(int), 2)
        assert truth.shape == predicted.shape == cv2.imread(str(file)).shape
        # The scenes are grey, the annotations are not.
        assert np.ptp(truth, axis=2).max() > 60
    command(
        "test", config, checkpoint, "--work-dir", tmp_path / "ours", "--cfg-options",
        f"test_evaluator.outfile_prefix={tmp_path}/ours",
    )  # fmt: skip
    boxes = json.loads((tmp_path / "ours.bbox.json").read_text())
    infer = DetInferencer(weights=str(checkpoint), device="cpu", show_progress=False)
    assert infer.model.dataset_meta["classes"] == CLASS_NAMES
    numbers = {
        image["file_name"]: image["id"]
        for image in json.loads(
            (world / "coco/annotations/instances_val.json").read_text()
        )["images"]
    }  # fmt: skip
    for file, found in zip(files, infer([str(f) for f in files])["predictions"], strict=True):
        mine = [box for box in boxes if box["image_id"] == numbers[file.name]]
        assert len(mine) == len(found["scores"]) > 0
        assert np.allclose([box["score"] for box in mine], found["scores"], atol=1e-5)
        corners = np.array([box["bbox"] for box in mine])
        corners[:, 2:] += corners[:, :2]
        assert np.allclose(corners, found["bboxes"], atol=1e-2)
        assert [box["category_id"] - 1 for box in mine] == found["labels"]


def test_segmentation(world, trained, tmp_path):
    from mmseg.apis import MMSegInferencer

    config, checkpoint = trained("seg")
    shown = tmp_path / "shown"
    command(
        "exec", "mmseg:test", config, checkpoint, "--work-dir", tmp_path / "theirs",
        "--show-dir", shown,
    )  # fmt: skip
    files = scene_files(world, "seg")
    pictures = sorted((shown / "vis_data/vis_image").iterdir())
    assert [p.name for p in pictures] == [
        f"test_{file.name}_{n}.png" for n, file in enumerate(files, 1)
    ]
    for picture, file in zip(pictures, files, strict=True):
        drawn = np.hsplit(cv2.imread(str(picture)).astype(int), 2)
        assert all(half.shape == cv2.imread(str(file)).shape for half in drawn)
        assert all(np.ptp(half, axis=2).max() > 60 for half in drawn)
    command(
        "test", config, checkpoint, "--work-dir", tmp_path / "ours", "--cfg-options",
        f"test_evaluator.output_dir={tmp_path}/maps",
    )  # fmt: skip
    infer = MMSegInferencer(str(config), weights=str(checkpoint), device="cpu")
    for file, found in zip(files, infer([str(f) for f in files])["predictions"], strict=True):
        ours = cv2.imread(f"{tmp_path}/maps/{file.stem}.png", cv2.IMREAD_UNCHANGED)
        # Files of ADE20K's kind count the classes from 1.
        assert np.array_equal(ours - 1, found)


# Data and schedules.


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cls", ["-m", "transformed"]),
        ("multi-crop", ["-m", "pipeline"]),
        ("knn", ["-p", "test", "-m", "original"]),
    ],
)
def test_browse_dataset_of_mmpretrain(name, options, world, tmp_path):
    phase = "test" if "test" in options else "train"
    command(
        "exec", "mmpretrain:visualization/browse_dataset", CONFIGS[name], "--not-show", "-n", "1",
        "--output-dir", tmp_path, *options,
        "--cfg-options", f"{phase}_dataloader.dataset.data_root={world}/images",
    )  # fmt: skip
    [picture] = tmp_path.iterdir()
    image = cv2.imread(str(picture))
    assert image.std() > 10
    if "original" in options:
        assert image.shape == (64, 64, 3)


@pytest.mark.parametrize("kind", ["det", "seg"])
def test_browse_dataset_of_mmdet_and_mmseg(kind, world, tmp_path):
    command(
        "exec", f"{LIBRARIES[kind]}:analysis_tools/browse_dataset", CONFIGS[kind], "--not-show",
        "--output-dir", tmp_path,
        "--cfg-options", f"train_dataloader.dataset.data_root={world}/{FOLDERS[kind]}",
    )  # fmt: skip
    pictures = sorted(tmp_path.iterdir())
    folder = {"det": "coco/train", "seg": "ade20k/images/training"}[kind]
    images = {path.name: path for path in (world / folder).iterdir()}
    assert {path.name for path in pictures} == set(images)
    for picture in pictures[:2]:
        drawn, image = (cv2.imread(str(p)).astype(int) for p in (picture, images[picture.name]))
        # The scenes are grey, their annotations are not.
        assert np.ptp(image, axis=2).max() < 60 < np.ptp(drawn, axis=2).max()


@pytest.mark.parametrize(
    ("name", "size", "steps", "peak", "last"),
    [
        ("cls", 640, 4 * 10, 5e-4, 1e-5),
        ("linear", 640, 10 * 10, 0.1, 0.0),
        ("pretrain", 640, 12 * 10, 5e-4, 1e-6),
        ("seg", 1600, 400, 1e-3, 0.0),  # with layer decay
    ],
)
def test_vis_scheduler(name, size, steps, peak, last, tmp_path):
    plt.close("all")
    command(
        "exec", "mmpretrain:visualization/vis_scheduler", CONFIGS[name], "-d", size, "--not-show",
        "-s", tmp_path / "rate.png", "--cfg-options", f"work_dir={tmp_path}",
    )  # fmt: skip
    rates = plt.gca().lines[0].get_ydata()
    assert len(rates) == steps and max(rates) == pytest.approx(peak, rel=1e-2)
    assert rates[-1] == pytest.approx(last, abs=peak * 0.03)
    assert (tmp_path / "rate.png").is_file()


# Costs and logs.


def test_get_flops_of_mmpretrain(capfd):
    found = {}
    for name in ("cls", "knn", "pretrain", "vos"):
        capfd.readouterr()
        command("exec", "mmpretrain:analysis_tools/get_flops", CONFIGS[name], "--shape", 48)
        text = capfd.readouterr().out
        found[name] = re.search(r"Flops: (\S+)\nParams: (\S+)", text).groups()
    # One backbone: 36 patches and [CLS], 12 * 96^2 products for each token in each of four blocks,
    # and the patches themselves. The tool does not count the products of attention.
    tokens, width = 37, 96
    products = 4 * tokens * 12 * width**2 + 36 * 192 * width
    assert float(found["cls"][0].rstrip("M")) == pytest.approx(products / 1e6, rel=0.02)
    assert found["knn"][0] == found["cls"][0]
    assert found["pretrain"][0] == found["cls"][0]
    assert found["vos"][1] == found["knn"][1]  # The parameters; its patches lie closer.


@pytest.mark.parametrize("kind", ["det", "seg"])
def test_get_flops_of_mmdet_and_mmseg(kind, trained, capfd):
    from bam_mm.checkpoint import read_checkpoint

    config, checkpoint = trained(kind)
    size = ["--num-images", 1] if kind == "det" else ["--shape", 96, 128]
    capfd.readouterr()
    command("exec", f"{LIBRARIES[kind]}:analysis_tools/get_flops", config, *size)
    text = capfd.readouterr().out
    flops, params = re.search(r"Flops: ([0-9.]+)G\nParams: ([0-9.]+)M", text).groups()
    state = read_checkpoint(checkpoint)["state_dict"]
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    left_out = ("auxiliary_head.",)  # mmseg's tool removes it.
    count = sum(
        tensor.numel()
        for name, tensor in state.items()
        if not name.endswith(buffers) and not name.startswith(left_out)
    )
    assert float(params) == pytest.approx(count / 1e6, rel=1e-3) and float(flops) > 0


@pytest.mark.parametrize("kind", ["cls", "det", "seg"])
def test_analyze_logs(kind, trained, tmp_path, capfd):
    config, _ = trained(kind)
    path, lines = log_of(config.parent)
    losses = [line["loss"] for line in lines if "loss" in line]
    tool = f"{LIBRARIES[kind]}:analysis_tools/analyze_logs"
    plt.close("all")
    task, style = (["plot_curve"], []) if kind != "seg" else ([], [])
    if kind == "det":
        style = ["--style", "ggplot"]  # Its default is a style of seaborn's.
    command("exec", tool, *task, path, "--keys", "loss", "--out", tmp_path / "loss.png", *style)
    # The tool clears its axes after saving.
    assert (tmp_path / "loss.png").is_file() and len(losses) >= 2
    if kind != "seg":
        capfd.readouterr()
        command("exec", tool, "cal_train_time", path, "--include-outliers")
        logged = float(re.search(r"average iter time: ([0-9.]+)", capfd.readouterr().out)[1])
        times = [line["time"] for line in lines if "loss" in line]
        assert logged == pytest.approx(np.mean(times), abs=2e-4)


# Features.


def test_feature_extractor_returns_the_features_of_our_loops(world):
    import torch
    from mmengine.runner import Runner
    from mmpretrain import FeatureExtractor, get_model

    from bam_mm.launch.config import load_config
    from bam_mm.models.feature_extraction import EVALUATION_SAMPLER, extract_features

    config = load_config(CONFIGS["knn"], {"data_root": f"{world}/images"})
    model = get_model(config, device="cpu")
    loader = {**config.test_dataloader, "sampler": dict(EVALUATION_SAMPLER), "num_workers": 0}
    ours, _ = extract_features(
        model, model.data_preprocessor, Runner.build_dataloader(loader), description="", gather=True
    )
    files = scene_files(world, "cls")
    extract = FeatureExtractor(model)
    by_path = torch.stack([x for (x,) in extract([str(file) for file in files], batch_size=9)])
    by_array = torch.stack([x for (x,) in extract([cv2.imread(str(file)) for file in files])])
    assert by_path.shape == (len(files), 96) and torch.equal(by_path[:1], by_array[:1])
    assert torch.allclose(by_path, ours, atol=1e-5) and torch.allclose(by_array, ours, atol=1e-5)
    folder = files[0].parent
    assert len(extract(str(folder))) == len(list(folder.iterdir()))
