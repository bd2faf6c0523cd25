"""Label propagation on DAVIS with frozen patch features, as a model that is only tested."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor

from bam_mm.data.video import FaultyVideo, Video
from bam_mm.errors import InputError
from bam_mm.evaluation import first_frame_labels, propagate_video, read_out
from bam_mm.models.loading import LoadsBranch
from bam_mm.models.overlapping_patches import lay_patches_closer
from bam_mm.models.patch_features import build_map_backbone, feature_map, pixels_per_patch
from bam_mm.models.video_input import input_size
from bam_mm.precision import check_precision, computing_in, effective_precision
from bam_mm.registry import MODELS

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@MODELS.register_module()
class LabelPropagation(LoadsBranch, BaseModel):
    """Propagate the objects of the first frame through a video by nearest patches, as DINO does.

    The features are extracted once for all settings of ``topk`` and ``n_last_frames``, and
    propagated by :func:`~bam_mm.evaluation.propagate_video`.

    Args:
        backbone: Config of the backbone.
        short_side: Short side of the backbone's input in pixels.
        divisor: Number of which the long side is a multiple, by rounding down.
        mean: Mean of red, green and blue, for pixel values in [0, 1].
        std: Standard deviation of red, green and blue, for pixel values in [0, 1]. DINO's script
            uses .228 for red.
        to_rgb: Whether the backbone takes RGB; otherwise it takes BGR, and ``mean`` and ``std`` are
            those of blue, green and red.
        topk: Number of nearest patches, or several numbers.
        n_last_frames: Number of context frames in addition to the first frame, or several numbers.
        radius: Radius of the square window of context patches, in patches; 0 sets no limit.
        temperature: Softmax temperature of the weights of the nearest patches.
        stage: Index of the backbone's output, see
            :func:`~bam_mm.models.patch_features.build_map_backbone`; None is the last one.
        stride: Distance between two patches of a transformer in pixels, see
            :func:`~bam_mm.models.overlapping_patches.lay_patches_closer`; None is the patch size.
        dtype: Type of the stored features: ``float32``, ``float16`` or ``bfloat16``. Similarities
            are always computed in float32.
        precision: Precision in which the backbone computes: ``float32``, ``tf32`` or ``bfloat16``.
            None is that of ``dtype`` if it is a half precision, otherwise ``tf32`` on a GPU and
            ``float32`` on a CPU.
        batch_size: Number of frames in a batch of the backbone.
        branch: Branch of a BAM checkpoint to load, ``teacher`` or ``student``.
        data_preprocessor: Always None. mmpretrain's ``get_model`` passes it to every model.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If an option is out of range.
    """

    def __init__(
        self,
        backbone: Mapping,
        short_side: int = 480,
        divisor: int = 64,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        to_rgb: bool = True,
        topk: int | Sequence[int] = 5,
        n_last_frames: int | Sequence[int] = 7,
        radius: int = 12,
        temperature: float = 0.1,
        stage: int | None = None,
        stride: int | None = None,
        dtype: str = "float32",
        precision: str | None = None,
        batch_size: int = 8,
        branch: str = "teacher",
        data_preprocessor: None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if data_preprocessor is not None:
            raise InputError(
                "model.data_preprocessor: LabelPropagation reads and normalises its frames itself; "
                "remove it, and set model.mean, model.std and model.to_rgb"
            )
        self.topk = _settings("topk", topk, least=1)
        self.n_last_frames = _settings("n_last_frames", n_last_frames, least=0)
        _check(short_side=short_side, divisor=divisor, batch_size=batch_size)
        if radius < 0 or temperature <= 0:
            raise InputError(
                f"model.radius={radius}, model.temperature={temperature}: the radius must be at "
                "least 0 (no limit) and the temperature above 0; DINO uses 12 and 0.1"
            )
        if dtype not in DTYPES:
            raise InputError(f"model.dtype={dtype!r}: choose one of {', '.join(DTYPES)}")
        if branch not in ("teacher", "student"):
            raise InputError(f"model.branch={branch!r}: choose 'teacher' or 'student'")
        if max(*mean, *std) > 1 or min(std) <= 0:
            raise InputError(
                f"model.mean={list(mean)}, model.std={list(std)}: the values must be for pixels in "
                "[0, 1] and std positive; divide values for pixels in [0, 255] by 255"
            )
        self.short_side, self.divisor, self.batch_size = short_side, divisor, batch_size
        self.radius, self.temperature = radius, temperature
        self.stage, self.dtype, self.branch = stage, DTYPES[dtype], branch
        self.precision = check_precision(precision, "model.precision")
        self.half = self.dtype if precision is None and dtype != "float32" else None
        self.backbone = build_map_backbone(backbone, stage)
        if stride is not None:
            lay_patches_closer(self.backbone, stride)
        self.to_rgb = to_rgb
        for name, values in (("mean", mean), ("std", std)):
            # In BGR, the order of the frames; not saved in checkpoints.
            in_bgr = [float(value) for value in (values[::-1] if to_rgb else values)]
            channels = torch.tensor(in_bgr).view(3, 1, 1)
            self.register_buffer(name, channels, persistent=False)

    def forward(self, video: Video | Sequence[Video], mode: str = "predict") -> list[dict]:
        """Predict one or several videos, see :meth:`predict`.

        Args:
            video: One video, or several.
            mode: Mode of the forward pass; only ``predict`` is supported.

        Raises:
            InputError: If ``mode`` is not ``predict``.
        """
        if mode != "predict":
            raise InputError(
                f"LabelPropagation has no mode {mode!r}: it is tested, not trained; use 'predict'"
            )
        return [self.predict(v) for v in ([video] if isinstance(video, Video) else video)]

    @torch.no_grad()
    def predict(self, video: Video) -> dict:
        """Propagate the first annotation of one video.

        Args:
            video: Video of T frames of (H, W) pixels.

        Returns:
            Dict with the keys ``video``; ``predictions``, the (T, H, W) uint8 ids for each
            (topk, n_last_frames), where the first frame is the annotation; ``seconds``, the time
            taken; and ``fault``, the error message if a frame or the annotation cannot be read (in
            which case there are no predictions), else None.

        Raises:
            InputError: If the video is not at fault: if the features are not finite, or the
                backbone cannot cut a frame into whole patches.
        """
        start = time.perf_counter()
        try:
            predictions = self.carry(video, self.features(video))
        except FaultyVideo as error:
            return {"video": video, "predictions": {}, "seconds": 0.0, "fault": str(error)}
        seconds = time.perf_counter() - start
        return {"video": video, "predictions": predictions, "seconds": seconds, "fault": None}

    def features(self, video: Video) -> Iterator[Tensor]:
        """Extract the features of a video in batches, and read the next batch at the same time.

        Args:
            video: Video of T frames.

        Yields:
            (D, h, w) features of each frame, in ``dtype``.
        """
        size = input_size(video.size, self.short_side, self.divisor)
        starts = range(0, len(video), self.batch_size)
        ranges = [range(s, min(s + self.batch_size, len(video))) for s in starts]
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(_read, video, ranges[0], size)
            for following in [*ranges[1:], None]:
                frames = ahead.result()
                if following is not None:
                    ahead = pool.submit(_read, video, following, size)
                yield from self._extract(frames)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor]:
        """Compute the maps of a batch; mmpretrain's tools call models by this method.

        Args:
            inputs: (N, 3, H, W) normalised images, in the channel order of the backbone.

        Returns:
            Tuple of one map (N, D, h, w).

        Raises:
            InputError: If the backbone returns no map.
        """
        half = torch.autocast(inputs.device.type, self.half, enabled=self.half is not None)
        with half, computing_in(self.precision, inputs.device):
            return (feature_map(self.backbone, inputs, self.stage),)

    def carry(self, video: Video, maps: Iterator[Tensor]) -> dict[tuple[int, int], np.ndarray]:
        """Propagate the first annotation of a video with given features.

        Args:
            video: Video of T frames of (H, W) pixels.
            maps: (D, h, w) features of each frame, as returned by :meth:`features`.

        Returns:
            (T, H, W) uint8 ids for each (topk, n_last_frames).

        Raises:
            FaultyVideo: If the annotation cannot be read.
        """
        annotation = video.annotation(0)
        first = next(maps)
        grid = (first.shape[1], first.shape[2])
        stride = input_size(video.size, self.short_side, self.divisor)[0] // grid[0]
        labels = first_frame_labels(annotation, grid).to(first.device)
        outputs = propagate_video(
            (m.flatten(1).T for m in _chain(first, maps)),
            labels,
            topk=self.topk,
            n_last_frames=self.n_last_frames,
            radius=self.radius,
            temperature=self.temperature,
        )
        predictions = {
            (k, n): np.empty((len(video), *video.size), np.uint8)
            for k in self.topk
            for n in self.n_last_frames
        }
        for ids in predictions.values():
            ids[0] = annotation
        for t, soft in enumerate(outputs, start=1):
            for setting, distribution in soft.items():
                frame = read_out(distribution, patch_size=stride, size=video.size)
                predictions[setting][t] = frame.cpu().numpy()
        return predictions

    @property
    def precision_used(self) -> str:
        """Precision in which the backbone computes on its device."""
        half = str(self.half).removeprefix("torch.") if self.half else None
        return half or effective_precision(self.precision, self.mean.device)

    def _extract(self, frames: Tensor) -> Tensor:
        # (B, 3, H, W) uint8 BGR -> (B, D, h, w)
        images = (frames.to(self.mean.device).float() / 255 - self.mean) / self.std
        [maps] = self.extract_feat(images.flip(1) if self.to_rgb else images)
        size, grid = (images.shape[2], images.shape[3]), (maps.shape[2], maps.shape[3])
        pixels_per_patch(size, grid, self.backbone)
        maps = maps.to(self.dtype)
        if not maps.isfinite().all():
            raise InputError(
                f"{type(self.backbone).__name__} returns features that are not finite: check the "
                "checkpoint, or set model.dtype=float32 instead of half precision"
            )
        return maps


def _read(video: Video, frames: Sequence[int], size: tuple[int, int]) -> Tensor:
    # -> (B, 3, H, W) uint8 BGR
    resized = [
        cv2.resize(video.frame(t), size[::-1], interpolation=cv2.INTER_LINEAR) for t in frames
    ]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)


def _chain(first: Tensor, others: Iterator[Tensor]) -> Iterator[Tensor]:
    yield first
    yield from others


def _settings(name: str, value: int | Sequence[int], *, least: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    wrong = not values or any(not isinstance(v, int) or v < least for v in values)
    if wrong or len(set(values)) != len(values):
        raise InputError(
            f"model.{name}={value}: set one whole number of at least {least}, or several "
            f'different ones as in --cfg-options model.{name}="[3,5,7,10]"'
        )
    return values


def _check(**positive: int) -> None:
    for name, value in positive.items():
        if not isinstance(value, int) or value < 1:
            raise InputError(f"model.{name}={value}: it must be a whole number of at least 1")
