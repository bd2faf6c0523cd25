"""Pictures of predictions as mmdet's and mmseg's visualizers draw them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmengine.dist import is_main_process
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.visualization import Visualizer

from bam_mm.data.loading import read_image
from bam_mm.data.match_annotation import as_evaluated, steps_of
from bam_mm.errors import InputError


class LibraryPicturesHook(Hook):
    """Draw predictions with the visualizer of mmdet or mmseg, where their tools ask for it.

    ``tools/test.py --show-dir`` and ``--show`` of both libraries set the arguments of the hook
    ``visualization``. This class takes those of mmdet's ``DetVisualizationHook`` and mmseg's
    ``SegVisualizationHook`` and does the same, except that an image is drawn with the pixels that
    were evaluated, also where Exif turns it.

    Args:
        draw: Whether to draw: all images of a test, and during validation the first image of a
            batch every ``interval`` iterations.
        interval: Number of iterations between two pictures of a validation.
        show: Whether to open a window instead of handing the pictures to the visualizer's backends.
        wait_time: Time for which a window stays open, in seconds; 0 waits for a key.
        test_out_dir: Folder of a test's pictures, below the folder of the run in the work folder;
            None hands them to the visualizer's backends.
        score_thr: Minimum score of the detections to draw.
        backend_args: Arguments of mmengine's file backend; None for local files.
    """

    def __init__(
        self,
        draw: bool = False,
        interval: int = 50,
        show: bool = False,
        wait_time: float = 0.0,
        test_out_dir: str | None = None,
        score_thr: float = 0.3,
        backend_args: dict | None = None,
    ) -> None:
        self.draw, self.interval, self.show, self.wait_time = draw, interval, show, wait_time
        self.test_out_dir, self.score_thr = test_out_dir, score_thr
        self.backend_args = backend_args
        self._tested = 0

    def before_run(self, runner: Any) -> None:
        """Check that the visualizer draws predictions.

        Raises:
            InputError: If it does not.
        """
        if not self.draw:
            return
        kind = type(runner.visualizer)
        if kind.add_datasample is Visualizer.add_datasample:
            raise InputError(
                f"default_hooks.visualization.draw=True: {kind.__name__} draws no predictions; set "
                "visualizer.type=mmdet.DetLocalVisualizer or mmseg.SegLocalVisualizer"
            )
        if self.show:
            runner.visualizer._vis_backends = {}

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw the first image of a batch, if a picture is due."""
        step = runner.iter + batch_idx
        if self.draw and outputs and step % self.interval == 0:
            self._picture(runner, "val", runner.val_dataloader.dataset, outputs[0], step)

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw the images of a batch."""
        for sample in (outputs or ()) if self.draw else ():
            self._tested += 1
            self._picture(runner, "test", runner.test_dataloader.dataset, sample, self._tested)

    def _picture(self, runner: Any, part: str, dataset: Any, sample: Any, step: int) -> None:
        if not is_main_process():
            return
        image, file = self._image(dataset, sample), Path(sample.img_path).name
        options: dict[str, Any] = dict(show=self.show, wait_time=self.wait_time, step=step)
        if "pred_sem_seg" in sample:
            name = f"{part}_{file}"
        else:
            name = file if self.show else f"{part}_img"
            options["pred_score_thr"] = self.score_thr
        if self.test_out_dir is not None and part == "test":
            folder = Path(runner.work_dir) / runner.timestamp / self.test_out_dir
            options["out_file"] = str(folder / file)
        runner.visualizer.add_datasample(name, image, data_sample=sample, **options)

    def _image(self, dataset: Any, sample: Any) -> np.ndarray:
        """Return the evaluated image (H, W, 3) uint8, RGB."""
        path = str(sample.img_path)
        if self.backend_args is not None:
            data = get(path, backend_args=self.backend_args)
            return mmcv.imfrombytes(data, channel_order="rgb")
        image = read_image(path, "restore the file")
        image = as_evaluated(image, path, sample.ori_shape, steps_of(dataset))
        return np.ascontiguousarray(image[:, :, ::-1])
