"""Images per second of multi-crop and photometric augmentation on one core, compared with Pillow.

    python benchmarks/data.py
    python benchmarks/data.py --device cuda    # only the part that runs on the device

Each image has 2 views of 224 px and 6 of 96 px. The script creates JPEGs in a temporary folder
(filtered noise, discs and grain, with the file size of photographs). It uses one process and one
thread. Rates are medians of alternating runs, and ratios are medians over the pairs of runs.
"""

import argparse
import functools
import random
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import default_collate
from mmpretrain.datasets.transforms import PackInputs
from PIL import Image
from torchvision import transforms as T

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.data import LoadImage, MultiCrop
from bam_mm.data.crop_resize import crop_with_torch
from bam_mm.data.photometric.draw import PhotometricSpec, draw
from bam_mm.data.photometric.in_workers import apply_to_bgr
from bam_mm.models import MultiViewPreprocessor
from benchmarks.baselines.pil_multi_crop import PILMultiCrop, photometric
from benchmarks.measuring import add_json_option, alternate, write_json

LAYOUT = dict(num_global=2, num_local=6, global_size=224, local_size=96)
BATCH = 32


def make_photograph(height: int, width: int, seed: int) -> np.ndarray:
    """Draw an image of noise of all scales, discs and grain, (height, width, 3) uint8."""
    r = np.random.RandomState(seed)
    image = np.full((height, width, 3), 128, np.float32)
    for octave in range(7):
        noise = r.randn(2**octave + 2, 2**octave + 2, 3).astype(np.float32)
        smooth = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        # In photographs, neighbouring pixels differ more in brightness than in hue.
        image += 50 / 1.5**octave * (0.7 * smooth.mean(axis=2, keepdims=True) + 0.3 * smooth)
    for _ in range(12):
        centre = int(r.randint(width)), int(r.randint(height))
        cv2.circle(
            image, centre, int(r.randint(height // 40, height // 5)), r.uniform(0, 255, 3), -1
        )
    image += 9 * r.randn(height, width, 1)
    return np.clip(image, 0, 255).astype(np.uint8)


def write_jpegs(folder: Path, count: int, height: int, width: int) -> list[str]:
    """Write images of one size as JPEG and return their paths."""
    paths = []
    for seed in range(count):
        paths.append(str(folder / f"{height}x{width}_{seed}.jpg"))
        cv2.imwrite(paths[-1], make_photograph(height, width, seed), [cv2.IMWRITE_JPEG_QUALITY, 92])
    return paths


class Pipeline:
    """Pipeline of this package from files to packed views, or to the input of the network."""

    def __init__(
        self, backend: str, place: str, *, lazy: bool = True, prepare: bool = False
    ) -> None:
        self.steps = [
            LoadImage(lazy=lazy),
            MultiCrop(LAYOUT, photometric_place=place, backend=backend),
            PackInputs(meta_keys=("photometric_place",)),
        ]
        self.preprocessor = None
        if prepare:
            self.preprocessor = MultiViewPreprocessor(LAYOUT, photometric_place=place)

    def __call__(self, paths: list[str]) -> None:
        """Create the views of some images."""
        packed = []
        for path in paths:
            results = dict(img_path=path)
            for step in self.steps:
                results = step(results)
            packed.append(results)
        if self.preprocessor is not None:
            self.preprocessor(default_collate(packed), training=True)


def decode(paths: list[str], flag: int = cv2.IMREAD_COLOR) -> None:
    """Decode images without anything else."""
    for path in paths:
        cv2.imdecode(np.fromfile(path, np.uint8), flag)


RATIOS: dict[str, float] = {}
FIGURES: dict[str, float] = {}


def report(subject: str, name: str, ours, baseline, count: int, runs: int, first=False) -> None:
    """Compare two functions that process ``count`` images each."""
    fast, slow, ratio = alternate(ours, baseline, runs=runs)
    # Bounds and reference points are not speeds of this package, so they are not checked.
    results = FIGURES if name.startswith(("decoding", "backend")) else RATIOS
    results[f"{subject}: {name.partition('(')[0].strip()}"] = ratio
    if first:
        print(f"  {'Pillow and torchvision':<55}{count / slow:8.0f} images/s")
    print(f"  {name:<55}{count / fast:8.0f} images/s, ratio {ratio:.2f}")


def compare_multi_crop(paths: list[str], runs: int, large: bool) -> None:
    """Compare complete pipelines that start from a file."""
    baseline = PILMultiCrop()
    cases = {
        "worker part: decode, crops (photometric on the device)": Pipeline("torch", "device"),
        "all in the worker, normalised": Pipeline("torch", "worker", prepare=True),
        "decoding alone, whole images (the bound)": decode,
    }
    if large:
        cases["worker part without scaled decoding"] = Pipeline("torch", "device", lazy=False)
        cases["decoding alone, half the sides"] = functools.partial(
            decode, flag=cv2.IMREAD_REDUCED_COLOR_2
        )
    else:
        cases["backend='pillow', all in the worker, normalised"] = Pipeline(
            "pillow", "worker", lazy=False, prepare=True
        )
    subject = "2000 x 1500" if large else "500 x 400"
    for index, (name, function) in enumerate(cases.items()):
        report(
            subject,
            name,
            functools.partial(function, paths),
            lambda: [baseline(path) for path in paths],
            len(paths),
            runs,
            first=index == 0,
        )


def compare_resizing(image: np.ndarray, runs: int) -> None:
    """Print the time of one global and one local crop, and the difference from Pillow's filter."""
    picture = Image.fromarray(image)

    def pillow(box, side):
        top, left, bottom, right = box
        return picture.crop((left, top, right, bottom)).resize((side, side), Image.BICUBIC)

    def opencv(box, side):
        top, left, bottom, right = box
        return cv2.resize(image[top:bottom, left:right], (side, side), interpolation=cv2.INTER_AREA)

    def ours(box, side):
        return crop_with_torch(image, box, (side, side))

    for box, side in (((20, 30, 380, 430), 224), ((100, 100, 250, 270), 96)):
        wanted = np.asarray(pillow(box, side)).astype(float)
        for name, resize in (("torch", ours), ("OpenCV's area average", opencv)):
            off = np.abs(resize(box, side) - wanted).mean()
            fast, slow, ratio = alternate(
                functools.partial(resize, box, side),
                functools.partial(pillow, box, side),
                runs=runs,
            )
            print(
                f"  {box[3] - box[1]} x {box[2] - box[0]} to {side} px, {name}: "
                f"{1e6 * fast:.0f} us, Pillow {1e6 * slow:.0f} us, ratio {ratio:.2f}, "
                f"{off:.3f} grey levels off"
            )


def compare_photometric(runs: int) -> None:
    """Compare photometric augmentation and normalisation of views of 224 px in memory."""
    views = [make_photograph(224, 224, seed) for seed in range(BATCH)]
    images = [Image.fromarray(np.ascontiguousarray(v[..., ::-1])) for v in views]
    batch = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).contiguous()
    layout = dict(num_global=2, num_local=0, global_size=224)
    pair = [T.Compose(photometric(1.0, 0.0)), T.Compose(photometric(0.1, 0.2))]
    half = BATCH // 2

    prepare = MultiViewPreprocessor(layout, photometric_place="device")

    def batched():
        prepare(dict(inputs=[batch[:half], batch[half:]], data_samples=None), training=True)

    def one_by_one():
        specs = PhotometricSpec(), PhotometricSpec(blur_prob=0.1, solarize_prob=0.2)
        for index, view in enumerate(views):
            apply_to_bgr(view, draw(specs[index >= half], 1))

    def baseline():
        for index, image in enumerate(images):
            pair[index >= half](image)

    cases = {
        "batched": batched,
        "one by one in bytes (worker; not normalised)": one_by_one,
    }
    for index, (name, function) in enumerate(cases.items()):
        report("photometric", name, function, baseline, BATCH, runs, first=index == 0)


def compare_on_device(device: str, images: int, runs: int) -> None:
    """Measure the processing of all views of some images on a device, up to the network's input.

    The time includes the copy to the device, as in training.
    """
    sides = [224] * 2 + [96] * 6
    generator = torch.Generator().manual_seed(0)
    views = [
        torch.randint(256, (images, 3, side, side), dtype=torch.uint8, generator=generator)
        for side in sides
    ]
    if device != "cpu":
        views = [view.pin_memory() for view in views]

    def prepared(place: str):
        prepare = MultiViewPreprocessor(LAYOUT, photometric_place=place).to(device)

        def run() -> None:
            prepare(dict(inputs=list(views), data_samples=None), training=True)
            if device != "cpu":
                torch.cuda.synchronize()

        return run

    # If the workers augment, the device only copies and normalises, which is the bound.
    augmented, plain, ratio = alternate(prepared("device"), prepared("worker"), runs=runs)
    print(f"{images} images on {device}, 2 x 224 + 6 x 96 px, from bytes:")
    print(f"  augmented and normalised {images / augmented:.0f} images/s, ", end="")
    print(f"normalised alone {images / plain:.0f}, ratio {ratio:.2f}")
    FIGURES[f"photometric on {device}: share of normalising alone"] = ratio
    FIGURES[f"photometric on {device}: images/s"] = images / augmented


def main() -> None:
    """Run the comparisons and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--images",
        type=int,
        default=16,
        help="number of 500 x 400 images; a quarter as many large ones",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        help="measure only the part on the device, with --batch images",
    )
    parser.add_argument("--batch", type=int, default=256, help="number of images for --device")
    add_json_option(parser)
    args = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    if args.device:
        compare_on_device(args.device, args.batch, args.runs)
        write_json(args.json, RATIOS, FIGURES)
        return
    print("one thread; ratios compare with Pillow and torchvision in the same runs")
    for height, width in ((400, 500), (1500, 2000)):
        with tempfile.TemporaryDirectory() as folder:
            count = args.images if height == 400 else max(args.images // 4, 1)
            paths = write_jpegs(Path(folder), count, height, width)
            size = np.mean([Path(path).stat().st_size for path in paths]) / 1024
            print(f"{width} x {height} JPEGs of {size:.0f} KiB, 2 x 224 + 6 x 96 px:")
            compare_multi_crop(paths, args.runs, large=height > 1000)
    print("crop and resize:")
    compare_resizing(make_photograph(400, 500, 0), 20 * args.runs)
    print("photometric augmentation and normalisation at 224 px:")
    compare_photometric(args.runs)
    write_json(args.json, RATIOS, FIGURES)


if __name__ == "__main__":
    main()
