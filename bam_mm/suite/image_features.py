"""Features of image files, computed as the kNN task of a suite computes them."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bam_mm.checkpoint import write_whole
from bam_mm.checkpoint.geometry import DEFAULT_SIZE
from bam_mm.checkpoint.preprocessing import Preprocessing
from bam_mm.data.file_names import IMAGE_ENDINGS
from bam_mm.data.image_files import find_images
from bam_mm.errors import InputError
from bam_mm.launch.config import import_custom_modules, load_config
from bam_mm.launch.preprocessing import settle
from bam_mm.models.adapters import adapter_of
from bam_mm.models.frozen_features import FrozenFeatures
from bam_mm.precision import check_precision, computing_in
from bam_mm.registry import MODELS
from bam_mm.suite.fitting import fit
from bam_mm.suite.models import Model, read_models
from bam_mm.variables.entries import kind_of

PROTOCOL = "cls/vit-base-p16_knn_in1k"
"""Config whose feature and images are used: kNN on ImageNet."""


@dataclass(frozen=True)
class ImageFeatures:
    """Features of images.

    Attributes:
        names: Paths of the N images, in the order of the rows.
        features: (N, D) float32, not normalised.
        kind: Parts of the feature, see :func:`~bam_mm.models.probe_features.probe_feature`.
        preprocessing: Normalisation and size of the images.
    """

    names: list[str]
    features: np.ndarray
    kind: str
    preprocessing: Preprocessing


def image_features(
    images: str | Path | Sequence[str | Path],
    model: str,
    *,
    config: str | Path = PROTOCOL,
    feature: str | None = None,
    size: int | None = None,
    batch_size: int = 64,
    workers: int = 0,
    device: str | torch.device | None = None,
    precision: str | None = None,
    seed: int = 0,
    trust: bool = False,
) -> ImageFeatures:
    """Compute a feature vector of each image with a frozen backbone.

    The backbone, its feature and the preparation of the images are those of a kNN task: the model's
    own normalisation, and its own size if it states one.

    Args:
        images: Image files and folders. A folder stands for all images below it.
        model: Backbone and weights, see :func:`~bam_mm.checkpoint.parse_backbone`.
        config: Config with a :class:`~bam_mm.models.frozen_features.FrozenFeatures` model, by path
            or name, such as that of the kNN task of a suite.
        feature: ``cls``, ``cls+mean``, ``mean`` or ``own``; None for that of the config, or
            ``mean`` for networks without a [CLS] token.
        size: Side of the images in pixels; None for the model's own, or that of the config. For a
            ViT with another ``img_size`` that states no size, it is this one.
        batch_size: Number of images at a time.
        workers: Number of processes that read images; 0 reads them in this one.
        device: Device of the backbone; None for the first GPU, or the CPU if there is none.
        precision: Precision in which the backbone computes, see
            :func:`~bam_mm.precision.computing_in`.
        seed: Seed of random weights.
        trust: Whether the user has explicitly allowed code in the checkpoint to run.

    Returns:
        Names and features, in the order of the arguments and sorted within each folder.

    Raises:
        InputError: If there is no image or one cannot be read, the model is unknown or does not fit
            its file, it lacks the feature, or an option is wrong.
    """
    names = _names([images] if isinstance(images, (str, Path)) else images)
    for option, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0)):
        if value < least:
            raise InputError(f"{option}={value}: set a number of at least {least}")
    check_precision(precision)
    place = _usable(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    [evaluated] = read_models([model], trust=trust)
    settings = load_config(config)
    used = _prepare(settings, evaluated, config, feature, size)
    torch.manual_seed(seed)
    network: FrozenFeatures = MODELS.build(settings.model)
    _check_size(size, network)
    network.load_pretrained(evaluated.checkpoint, **({"trust": True} if trust else {}))
    files = _Files(names, Compose(settings.test_dataloader.dataset.pipeline))
    loader = DataLoader(
        files,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=default_collate,
    )
    rows = _rows(network.to(place), loader, names, precision)
    return ImageFeatures(names, rows, network.feature, used)


def features_file(path: str | Path) -> Path:
    """Return the file that features are written to: with the ending ``.npz``, as NumPy adds it.

    Args:
        path: File with this ending, or without one. ``~`` is the home folder.

    Raises:
        InputError: If it has another ending, which would promise another format.
    """
    file = Path(path).expanduser()
    if file.suffix and file.suffix != ".npz":
        raise InputError(
            f"{path}: features and names are written together, in NumPy's format .npz, not "
            f"{file.suffix}; write {file.with_suffix('.npz')} and read numpy.load(...)['features']"
        )
    return file.with_suffix(".npz")


def write_features(path: str | Path, found: ImageFeatures) -> Path:
    """Write features to a file of NumPy, with the arrays ``features``, ``names`` and two texts.

    Args:
        path: File to write, see :func:`features_file`. ``numpy.load`` reads it.
        found: Features to write; ``kind`` and ``preprocessing`` become texts.

    Returns:
        The written file, with its ending.

    Raises:
        InputError: If the file has another ending than ``.npz``, or cannot be written.
    """
    target = features_file(path)
    file = io.BytesIO()
    np.savez(
        file,
        features=found.features,
        names=np.array(found.names),
        kind=np.array(found.kind),
        preprocessing=np.array(str(found.preprocessing)),
    )
    write_whole(target, file.getvalue())
    return target


class _Files(Dataset):
    def __init__(self, names: Sequence[str], pipeline: Compose) -> None:
        self.names, self.pipeline = names, pipeline

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict:
        return self.pipeline(dict(img_path=self.names[index], sample_idx=index))


def _names(images: Sequence[str | Path]) -> list[str]:
    found: list[str] = []
    for path in map(Path, images):
        path = path.expanduser()
        if path.is_dir():
            found += [str(path / name) for name in find_images(path)[0]]
        elif path.is_file():
            found.append(str(path))
        else:
            raise InputError(f"image {path} does not exist: pass images, or folders of images")
    if not found:
        raise InputError(
            f"no image in {', '.join(map(str, images)) or 'nothing'}: pass images with one of the "
            f"endings {' '.join(IMAGE_ENDINGS)}, or folders of them"
        )
    return found


def _usable(device: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (AssertionError, RuntimeError) as error:
        raise InputError(
            f"device {str(device)!r} cannot be used ({str(error).splitlines()[0]}): choose cpu, "
            "cuda or cuda:N"
        ) from error


def _prepare(
    settings: Config, model: Model, name: str | Path, feature: str | None, size: int | None
) -> Preprocessing:
    """Put the model, its feature and its preprocessing into the config, in place."""
    kind = kind_of(settings.get("model")) or "none"
    if kind != "FrozenFeatures":
        raise InputError(
            f"config {name}: its model is {kind}, not bam_mm.FrozenFeatures; use a config of a kNN "
            f"or logistic regression task, such as {PROTOCOL}"
        )
    import_custom_modules(settings)
    if feature is not None:
        settings.model.feature = feature
    if size is not None:
        settings.preprocessing = dict(size=size, geometry_source="the argument size")
    elif (own := _own_size(model, settings)) is not None:
        settings.preprocessing = dict(size=own, geometry_source="img_size of the backbone")
    backbone = model.source.config if model.trained else None
    decision = settle(settings, model.preprocessing, backbone=backbone)
    fit(settings, model)
    if feature is not None and settings.model.feature != feature:
        raise InputError(
            f"feature {feature!r}: {model.name} has no [CLS] token; use 'mean', or leave it out"
        )
    decision.log()
    return decision.used


def _check_size(size: int | None, network: FrozenFeatures) -> None:
    """Check that an image has at least one cell of the last map."""
    adapter = adapter_of(network.backbone)
    try:
        # Strides of a network of your own would have to be measured.
        stride = 1 if adapter.library == "own" else max(adapter.strides)
    except InputError:
        stride = 1
    if size is not None and size < stride:
        raise InputError(
            f"size={size}: {adapter.name} has a stride of {stride} px; set a size of at least "
            f"{stride}"
        )


def _own_size(model: Model, settings: Mapping[str, Any]) -> int | None:
    """Return the size of a ViT's pretraining if neither the model nor the config prescribes one."""
    stated = model.preprocessing is not None and model.preprocessing.geometry is not None
    size = model.source.config.get("img_size", DEFAULT_SIZE)
    if stated or size == settings["model"]["backbone"].get("img_size", DEFAULT_SIZE):
        return None
    return size if isinstance(size, int) else None


@torch.no_grad()
def _rows(
    network: FrozenFeatures, loader: DataLoader, names: Sequence[str], precision: str | None
) -> np.ndarray:
    rows: list[Tensor] = []
    quiet = not sys.stderr.isatty()
    for data in track(loader, description="features", disable=quiet, transient=True):
        inputs = network.data_preprocessor(data, False)["inputs"]
        with computing_in(precision, inputs.device):
            rows.append(network(inputs).float().cpu())
        bad = (~rows[-1].isfinite().all(dim=1)).nonzero()
        if len(bad):
            first = names[sum(map(len, rows[:-1])) + int(bad[0])]
            raise InputError(
                f"{type(network.backbone).__name__} returns a feature that is not finite for "
                f"{first}: check the checkpoint and the preprocessing"
            )
    return torch.cat(rows).numpy()
