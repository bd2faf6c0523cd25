"""DAVIS-2017 metric J & F, with tables, submission files and overlays."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from bam_mm.data.indexed_png import write_indexed
from bam_mm.data.video import FaultyVideo, Video
from bam_mm.errors import InputError
from bam_mm.evaluation import UnitScores, davis_summary, object_ids, object_measures, score_object
from bam_mm.protocols.davis_tables import print_tables, write_tables
from bam_mm.protocols.overlays import write_gif, write_strip
from bam_mm.protocols.unit_scores import UNITS, VIDEOS, UnitTable, write_units
from bam_mm.registry import METRICS

Setting = tuple[int, int]


@METRICS.register_module()
class DAVISMetric(BaseMetric):
    """Score the masks that :class:`~bam_mm.models.label_propagation.LabelPropagation` predicts.

    Each process scores and writes its own videos. The tables contain all videos, sorted by name,
    and do not depend on the number of processes.

    Files written below ``out_dir``::

        global.csv  per_sequence.csv  per_object.csv
        units.npz                            sums over the objects of each video, for intervals
        k5_n7/<sequence>/00000.png ...       submission: indexed PNGs with the annotation's palette
        overlays/<sequence>_k5_n7.png, .gif

    The metrics ``davis/J&F``, ``davis/J_mean``, ... are those of the first setting. If there are
    several settings, each is also reported under its name: ``davis/k5_n7/J&F``, ... The metric
    ``davis/videos`` is the number of videos that could be used, and ``davis/left_out`` the number
    of those that could not.

    Args:
        out_dir: Folder to write to. If None, :class:`~bam_mm.protocols.video_loop.VideoTestLoop`
            sets it to ``davis`` in the run's ``work_dir``; other loops write no files.
        save_png: Whether to write the submission.
        overlays: Number of videos to draw, starting with the first; the first setting is drawn.
        workers: Number of threads that score objects.
        collect_device: mmengine's device for collecting results: ``gpu`` gathers through the
            process group (gloo as well), ``cpu`` through files in the current folder.
        prefix: Prefix of the metric names; None is ``davis``.

    Raises:
        InputError: If ``workers`` is below 1 or ``overlays`` below 0.
    """

    default_prefix = "davis"

    def __init__(
        self,
        out_dir: str | None = None,
        save_png: bool = True,
        overlays: int = 2,
        workers: int = 4,
        collect_device: str = "gpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if workers < 1 or overlays < 0:
            raise InputError(
                f"DAVISMetric workers={workers}, overlays={overlays}: set workers to 1 or more, "
                "and overlays to 0 or more"
            )
        self.out_dir = None if out_dir is None else Path(out_dir).expanduser()
        self.save_png, self.overlays, self.workers = save_png, overlays, workers

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Score the predicted masks and write them to files.

        Args:
            data_batch: Not used.
            data_samples: Results of the model's ``predict``, one for each video.
        """
        for sample in data_samples:
            video: Video = sample["video"]
            fault, objects = sample["fault"], {}
            if fault is None:
                try:
                    if video.scored:
                        shown = video.annotated
                        predictions = {
                            s: p if len(shown) == len(p) else p[shown]
                            for s, p in sample["predictions"].items()
                        }
                        objects = self._score(video.truth(), predictions)
                    self._write(video, sample["predictions"])
                except FaultyVideo as error:
                    fault = str(error)
            if fault is not None:
                print_log(f"left out: {fault}", logger="current", level=logging.WARNING)
            self.results.append(
                {
                    "name": video.name,
                    "fault": fault,
                    "objects": objects,
                    "frames": len(video),
                    "seconds": sample["seconds"],
                    "settings": list(sample["predictions"]),
                }
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Average over objects, and print and write the tables.

        Args:
            results: Entries of ``self.results``, one for each video.

        Returns:
            The metrics, without their prefix.

        Raises:
            InputError: If no video could be used.
        """
        left_out = dict((self.dataset_meta or {}).get("left_out", {}))
        left_out |= {r["name"]: r["fault"] for r in results if r["fault"] is not None}
        good = sorted((r for r in results if r["fault"] is None), key=lambda r: r["name"])
        if not good:
            raise InputError(
                f"none of {len(left_out)} videos could be used; the first: "
                f"{next(iter(left_out.values()), 'the data set is empty')}"
            )
        metrics: dict[str, float] = {}
        scored = [r for r in good if r["objects"]]
        settings: list[Setting] = good[0]["settings"]
        if scored:
            per_setting = {s: {r["name"]: r["objects"][s] for r in scored} for s in settings}
            summaries = {
                s: davis_summary(o for objects in videos.values() for o in objects)
                for s, videos in per_setting.items()
            }
            metrics |= summaries[settings[0]]
            if len(settings) > 1:
                for s, summary in summaries.items():
                    metrics |= {f"{setting_name(s)}/{k}": v for k, v in summary.items()}
            print_tables(summaries, per_setting)
            if self.out_dir is not None:
                write_tables(self.out_dir, summaries, per_setting)
                write_units(self.out_dir / UNITS, _units(per_setting[settings[0]], self.prefix))
        seconds, frames = (sum(r[key] for r in good) for key in ("seconds", "frames"))
        print_log(
            f"{len(good)} videos, {frames} frames, {seconds / frames:.3f} s per frame for features "
            f"and propagation with {len(settings)} setting{'s' * (len(settings) > 1)}"
            + (f"; results in {self.out_dir}" if self.out_dir is not None else ""),
            logger="current",
        )
        return {**metrics, "videos": len(good), "left_out": len(left_out)}

    def _score(
        self, truth: np.ndarray, predictions: dict[Setting, np.ndarray]
    ) -> dict[Setting, list[dict[str, float]]]:
        # NumPy releases the GIL while it works on images, so the threads run in parallel.
        jobs = [(s, i) for s, p in predictions.items() for i in object_ids(truth, p)]
        with ThreadPoolExecutor(self.workers) as pool:
            values = list(
                pool.map(lambda job: score_object(truth, predictions[job[0]], job[1]), jobs)
            )
        objects: dict[Setting, list[dict[str, float]]] = {s: [] for s in predictions}
        for (setting, number), (region, boundary) in zip(jobs, values, strict=True):
            objects[setting].append(object_measures(number, region, boundary))
        return objects

    def _write(self, video: Video, predictions: dict[Setting, np.ndarray]) -> None:
        if self.out_dir is None:
            return
        palette = video.palette()
        for setting, ids in predictions.items():
            if self.save_png:
                folder = self.out_dir / setting_name(setting) / video.name
                folder.mkdir(parents=True, exist_ok=True)
                for path, frame in zip(video.frames, ids, strict=True):
                    write_indexed(folder / f"{Path(path).stem}.png", frame, palette)
        if video.index < self.overlays:
            setting, ids = next(iter(predictions.items()))
            out = self.out_dir / "overlays" / f"{video.name}_{setting_name(setting)}"
            write_strip(video, ids, palette, f"{out}.png")
            write_gif(video, ids, palette, f"{out}.gif")


def setting_name(setting: Setting) -> str:
    """Return the name of a setting, as used in metric and folder names.

    Args:
        setting: The pair (topk, n_last_frames).

    Returns:
        A name such as ``k5_n7``.
    """
    return f"k{setting[0]}_n{setting[1]}"


def _units(videos: Mapping[str, Sequence[Mapping[str, float]]], prefix: str | None) -> UnitTable:
    """The sums of each video's objects, and their number, for each measure."""
    summaries = [davis_summary(objects) for objects in videos.values()]
    counts = np.array([len(objects) for objects in videos.values()])
    start = f"{prefix}/" if prefix else ""
    scores = {
        f"{start}{name}": UnitScores(counts * [summary[name] for summary in summaries], counts)
        for name in summaries[0]
    }
    return UnitTable(VIDEOS, tuple(videos), scores)
