"""Objects of one frame of your own video, followed through all others by a frozen backbone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import set_random_seed
from rich.progress import track

from bam_mm.checkpoint.preprocessing import Preprocessing
from bam_mm.data.indexed_png import voc_palette, write_indexed
from bam_mm.data.marked_video import MarkedVideo, open_marked_video
from bam_mm.data.video import Video
from bam_mm.errors import InputError
from bam_mm.launch.config import load_config
from bam_mm.launch.preprocessing import settle
from bam_mm.launch.work_folder import check_folder
from bam_mm.models.building import log_only_warnings
from bam_mm.models.label_propagation import LabelPropagation
from bam_mm.protocols.overlays import write_mp4
from bam_mm.registry import MODELS
from bam_mm.suite.definitions import variant_of
from bam_mm.suite.fitting import family_of, fit
from bam_mm.suite.models import read_models
from bam_mm.variables.entries import kind_of

CONFIGS = {
    "vit": "vos/vit-base-p16_label-propagation_davis2017",
    "cnn": "vos/resnet50_label-propagation_davis2017",
}
"""Config of label propagation for each family of backbones, see
:func:`~bam_mm.suite.definitions.variant_of`."""


@dataclass(frozen=True)
class SegmentedVideo:
    """Results of :func:`segment_video`.

    Attributes:
        masks: Folder of the masks.
        overlay: Video that shows them.
        notes: How the files were read and normalised, for the user.
    """

    masks: Path
    overlay: Path
    notes: tuple[str, ...]


def segment_video(
    source: str | Path,
    mask: str | Path,
    out: str | Path,
    *,
    model: str,
    frame: int | None = None,
    config: str | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    trust: bool = False,
) -> SegmentedVideo:
    """Follow the objects of a mask through a video, and write masks and a video that shows them.

    Files written below ``out``::

        masks/00000.png ...    indexed PNG with the ids of the mask and the palette of DAVIS
        overlay.mp4            the video with its objects in colour

    Args:
        source: Video file, or folder of frames.
        mask: Objects in one frame: one id a pixel, 0 for the background.
        out: Folder to write to.
        model: Short name of the backbone, see :func:`~bam_mm.checkpoint.parse_backbone`.
        frame: Number of the frame that the mask shows, see
            :func:`~bam_mm.data.marked_video.open_marked_video`.
        config: Config of label propagation; None is DINO's protocol for the kind of backbone.
        options: Values of the config by dotted key, such as ``model.short_side``.
        seed: Seed of random weights.
        trust: Whether the user has explicitly allowed code in the checkpoint to run.

    Returns:
        What was written, and how.

    Raises:
        InputError: If the video, the mask, the model or an option is wrong, or the folder cannot
            be written to.
    """
    out = Path(out).expanduser()
    check_folder(out, "--out")
    log_only_warnings()
    with tempfile.TemporaryDirectory(dir=out, prefix="frames-") as folder:
        video = open_marked_video(source, mask, folder, frame=frame)
        network, used = build_propagation(model, config, options or {}, seed=seed, trust=trust)
        before = None if video.before is None else _follow(network, video.before)
        ids = video.joined(_follow(network, video.after), before)
        masks, overlay = _write(video, ids, out)
    notes = (*video.notes, f"preprocessing: {used.describe_normalisation()}, from {used.source}")
    return SegmentedVideo(masks, overlay, notes)


def build_propagation(
    spec: str,
    config: str | None,
    options: Mapping[str, Any],
    *,
    seed: int = 0,
    trust: bool = False,
) -> tuple[LabelPropagation, Preprocessing]:
    """Build label propagation with a backbone by its short name, and load its weights.

    Args:
        spec: Short name of the backbone.
        config: Config of label propagation; None chooses one.
        options: Values of the config by dotted key.
        seed: Seed of random weights.
        trust: Whether code in the checkpoint may run.

    Returns:
        The model in evaluation mode, on the GPU if there is one, and its preprocessing.

    Raises:
        InputError: If the backbone has no maps, its weights do not fit, or an option is wrong.
    """
    [model] = read_models([spec], trust=trust)
    settings = load_config(config or CONFIGS[variant_of(CONFIGS, family_of(model))], options)
    _check_config(settings, config)
    fit(settings, model)
    named = settings.model.backbone if model.trained else None
    used = settle(settings, model.preprocessing, options=list(options), backbone=named).used
    set_random_seed(seed)
    network = MODELS.build(settings.model)
    network.load_pretrained(model.checkpoint, **({"trust": True} if trust else {}))
    return network.eval().to(get_device()), used


def _check_config(settings: Config, name: str | None) -> None:
    if kind_of(settings.get("model") or {}) != "LabelPropagation":
        raise InputError(
            f"--config {name} follows no objects: use one of configs/vos, such as {CONFIGS['vit']}"
        )


@torch.no_grad()
def _follow(network: LabelPropagation, video: Video) -> np.ndarray:
    """Return the (T, H, W) ids of the first setting."""
    maps = track(network.features(video), description=video.name, total=len(video), transient=True)
    return next(iter(network.carry(video, iter(maps)).values()))


def _write(video: MarkedVideo, ids: np.ndarray, out: Path) -> tuple[Path, Path]:
    masks, palette = out / "masks", voc_palette()
    shutil.rmtree(masks, ignore_errors=True)  # Those of an earlier, longer video.
    masks.mkdir()
    for name, frame in zip(video.names, ids, strict=True):
        write_indexed(masks / f"{name}.png", frame, palette)
    return masks, write_mp4(video.whole(), ids, palette, out / "overlay.mp4", fps=video.fps)
