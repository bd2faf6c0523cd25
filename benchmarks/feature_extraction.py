"""Time of three protocols on one backbone, with and without a shared feature cache.

    python benchmarks/feature_extraction.py

kNN and logistic regression need training and test images, clustering needs the test images. All
protocols read the same folder of JPEG files, which the script creates, with the same loader and
backbone. The baseline is the same extraction without the cache. The cache is empty at the beginning
of each run. The bound is the extraction of each image once.

The script also measures a later protocol that finds all features in the cache, and the features of
student and teacher for the kNN during pretraining, with the images read once or twice.

Last, a convolutional network of timm extracts the features of a batch of 64 images of 224 px that
are in memory, and the same network runs on them as it comes: in the order of the input's memory,
with freed memory given back to the system. Each runs in a fresh process, in turn.
"""

import argparse
import logging
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

from bam_mm import FrozenFeatures, ImageFolder
from bam_mm.evaluation import (
    balanced_subset,
    clustering_curve,
    knn_predict,
    logistic_regression_sweep,
)
from bam_mm.models.feature_extraction import EVALUATION_SAMPLER, extract_features, extract_together
from bam_mm.protocols.feature_cache import cached_features
from benchmarks.measuring import (
    add_json_option,
    alternate,
    cpu_seconds,
    in_fresh_process,
    seconds,
    write_json,
)

CLASSES = 8
PIPELINE = [
    dict(type="bam_mm.LoadImage"),
    dict(type="ResizeEdge", scale=256, edge="short", backend="pillow", interpolation="bicubic"),
    dict(type="CenterCrop", crop_size=224),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path")),
]


def write_images(root: Path, split: str, count: int) -> None:
    """Write 500 x 400 JPEG files of smooth noise, with a different colour for each class."""
    rng = np.random.default_rng(len(split))
    tint = np.random.default_rng(0).uniform(112, 144, (CLASSES, 3))
    for number in range(count):
        label = number % CLASSES
        folder = root / split / f"class_{label}"
        folder.mkdir(parents=True, exist_ok=True)
        coarse = (tint[label] + rng.normal(0, 40, (50, 62, 3))).clip(0, 255).astype(np.uint8)
        image = Image.fromarray(coarse).resize((500, 400), Image.Resampling.BICUBIC)
        image.save(folder / f"{number}.jpg", quality=90)


class Bench:
    """A backbone, two splits of a folder, and three protocols."""

    def __init__(self, root: Path, arch: str) -> None:
        init_default_scope("mmpretrain")
        torch.manual_seed(0)
        backbone = dict(type="mmpretrain.VisionTransformer", arch=arch, out_type="cls_token")
        self.model = FrozenFeatures(backbone).eval()
        self.settings = dict(backbone=backbone, pipeline=PIPELINE)
        self.loaders = {split: self._loader(root, split) for split in ("train", "test")}

    def _loader(self, root: Path, split: str):
        dataset = ImageFolder(str(root), split=split, pipeline=PIPELINE)
        return Runner.build_dataloader(
            dict(
                batch_size=32,
                num_workers=0,
                sampler=dict(EVALUATION_SAMPLER),
                collate_fn=dict(type="default_collate"),
                dataset=dataset,
            )
        )

    def features(self, split: str, cache: Path | None):
        """Return features and labels of a split."""
        return cached_features(
            self.model,
            self.model.data_preprocessor,
            self.loaders[split],
            folder=cache,
            settings=self.settings,
            description=split,
        )

    def knn(self, cache: Path | None) -> float:
        """Return the top-1 accuracy, between 0 and 1."""
        bank, queries = self.features("train", cache), self.features("test", cache)
        scores = knn_predict(*bank, queries[0], num_classes=CLASSES, k=10)
        return (scores.argmax(1) == queries[1]).double().mean().item()

    def logreg(self, cache: Path | None) -> float:
        """Return the top-1 accuracy, between 0 and 1."""
        (features, labels), test = self.features("train", cache), self.features("test", cache)
        held_out = torch.zeros(len(labels)).bool()
        held_out[balanced_subset(labels, 0.2)] = True
        train, val = ((features[rows], labels[rows]) for rows in (~held_out, held_out))
        return logistic_regression_sweep(train, val, test, num_classes=CLASSES).test_score

    def clustering(self, cache: Path | None) -> float:
        """Return the mean NMI."""
        table = self.features("test", cache)
        curve = clustering_curve(*table, [4], num_classes=CLASSES, draws=2)
        return sum(score.nmi for score in curve[4]) / 2

    def student_and_teacher(self, together: bool) -> None:
        """Extract the features of the training images with two backbones."""
        options = dict(description="kNN", gather=True)
        fixed = (self.model.data_preprocessor, self.loaders["train"])
        pair = {"student": self.model, "teacher": self.model}
        if together:
            extract_together(pair, *fixed, **options)
        else:
            for backbone in pair.values():
                extract_features(backbone, *fixed, **options)

    def all(self, cache: Path | None) -> tuple[float, float, float]:
        """Run the three protocols, with an empty cache if there is one."""
        if cache:
            shutil.rmtree(cache, ignore_errors=True)
        return self.knn(cache), self.logreg(cache), self.clustering(cache)


class Ready:
    """A loader whose batches are in memory: images of 224 px with a label."""

    def __init__(self, batch: int, batches: int = 4) -> None:
        self.batch, self.dataset = batch, range(batch * batches)
        self.images = torch.randn(batch, 3, 224, 224)

    def __len__(self) -> int:
        return len(self.dataset) // self.batch

    def __iter__(self):
        for first in range(0, len(self.dataset), self.batch):
            samples = [
                DataSample(metainfo=dict(sample_idx=n)).set_gt_label(0)
                for n in range(first, first + self.batch)
            ]
            yield dict(inputs=self.images, data_samples=samples)


def convolutional_seconds(arch: str, extracted: bool) -> float:
    """Return the processor time of a network for four batches, by the extraction or alone."""
    init_default_scope("mmpretrain")
    model = FrozenFeatures(dict(type="TIMMBackbone", model_name=arch), feature="mean").eval()
    loader = Ready(64)

    def extract():
        extract_features(model, lambda data, training: data, loader, description=arch, gather=True)

    def alone():
        with torch.no_grad():
            for batch in loader:
                model.backbone.timm_model.forward_features(batch["inputs"]).mean((2, 3))

    return [cpu_seconds(extract if extracted else alone) for _ in range(2)][-1]


def _convolutional_in_fresh_process(args: argparse.Namespace, which: str) -> float:
    options = ("--cnn", args.cnn, "--threads", args.threads, "--convolutional", which)
    return in_fresh_process(__file__, *options)


def main() -> None:
    """Run the comparisons and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images", type=int, default=64, help="training images; half as many test images"
    )
    parser.add_argument(
        "--arch", default="deit-tiny", help="arch of mmpretrain's VisionTransformer"
    )
    parser.add_argument(
        "--cnn", default="tf_efficientnet_lite0", help="convolutional network of timm"
    )
    parser.add_argument(
        "--convolutional", choices=("extracted", "alone"), help="only print seconds"
    )
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    add_json_option(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.disable(logging.INFO)  # every cache hit would be logged
    if args.convolutional:
        print(convolutional_seconds(args.cnn, args.convolutional == "extracted"))
        return
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "images", Path(folder) / "cache"
        for split, count in (("train", args.images), ("test", args.images // 2)):
            write_images(root, split, count)
        bench = Bench(root, args.arch)
        shared, own = bench.all(cache), bench.all(None)
        print(
            f"kNN {shared[0]:.2%}, logistic regression {shared[1]:.2%}, NMI {shared[2]:.3f}: ",
            end="",
        )
        print("results equal" if shared == own else f"results DIFFER: {own}")
        fast, slow, ratio = alternate(
            lambda: bench.all(cache), lambda: bench.all(None), runs=args.runs
        )
        print(f"three protocols: shared {fast:.2f} s, separate {slow:.2f} s, ratio {ratio:.2f}")
        once = seconds(lambda: [bench.features(split, None) for split in ("train", "test")])
        print(f"  extraction of each image once alone: {once:.2f} s, {once / fast:.0%} of shared")
        hit, miss, hit_ratio = alternate(
            lambda: bench.features("train", cache),
            lambda: bench.features("train", None),
            runs=args.runs,
        )
        print(f"training images again: {1e3 * hit:.0f} ms instead of {miss:.2f} s, ", end="")
        print(f"ratio {hit_ratio:.0f}")
        joint, apart, pair_ratio = alternate(
            lambda: bench.student_and_teacher(True),
            lambda: bench.student_and_teacher(False),
            runs=args.runs,
        )
        print(
            f"student and teacher: together {joint:.2f} s, separate {apart:.2f} s, "
            f"ratio {pair_ratio:.2f}"
        )
    cnn, plain, cnn_ratio = alternate(
        *(partial(_convolutional_in_fresh_process, args, name) for name in ("extracted", "alone")),
        runs=args.runs,
        timer=lambda measure: measure(),
    )
    print(f"{args.cnn}, 256 images of 224 px, processor time: ", end="")
    print(f"extracted {cnn:.2f} s, alone {plain:.2f} s, ratio {cnn_ratio:.2f}")
    figures = {
        "shared seconds": fast,
        "own seconds": slow,
        "hit seconds": hit,
        "together seconds": joint,
        "apart seconds": apart,
        "convolutional seconds": cnn,
        "convolutional seconds alone": plain,
        "equal": shared == own,
    }
    ratios = {
        "three protocols": ratio,
        "features that are there": hit_ratio,
        "student and teacher": pair_ratio,
        "convolutional network": cnn_ratio,
    }
    write_json(args.json, ratios, figures)


if __name__ == "__main__":
    main()
