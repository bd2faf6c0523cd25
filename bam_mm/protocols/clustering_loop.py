"""Test loop that clusters features with k-means (paper, Fig. 7)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from rich.progress import Progress
from torch.utils.data import DataLoader

from bam_mm.errors import InputError
from bam_mm.evaluation import clustering_curve, draw_classes, summarise
from bam_mm.protocols.feature_loop import FeatureLoop, numbers
from bam_mm.protocols.plots import plot_clustering
from bam_mm.protocols.tables import print_rows, write_rows
from bam_mm.registry import LOOPS


@LOOPS.register_module()
class ClusteringLoop(FeatureLoop):
    """k-means on the test images of k random classes, for several k and several draws of classes.

    All processes extract the features together; every process then computes the same clusterings.
    The results are written to ``WORK_DIR/clustering``: ``clustering.csv`` and ``.json`` (one row
    per number of classes), ``draws.csv`` and ``.json`` (one row per draw, with its classes and
    seed), and ``clustering.png``.

    Args:
        runner: Runner of a :class:`~bam_mm.models.frozen_features.FrozenFeatures` or a
            :class:`~bam_mm.models.bam.BAM` model.
        dataloader: Dataloader of the test images, or its config.
        evaluator: Not used, but required by mmengine; pass ``[]``.
        num_classes: Number of classes, or several. Each is reported as ``clustering_k<k>/nmi`` and
            ``/ari``, with their standard deviations over the draws.
        draws: Number of draws for each number of classes.
        seed: Seed of the draws and of k-means.
        n_init: Number of k-means initialisations.
        images_per_class: Number of images to use of each class; None uses all.
        normalise: Whether features are scaled to length 1 first.
        branch: Branch of a BAM model to evaluate, ``teacher`` or ``student``.
        cache_dir: Folder of the feature cache; None disables the cache.
        precision: Precision in which the backbone computes, see
            :class:`~bam_mm.protocols.feature_loop.FeatureLoop`.

    Raises:
        InputError: If the data set has too few classes, or a class too few images.
    """

    name = "clustering"

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        num_classes: int | Sequence[int] = (10, 20, 50, 100, 200),
        draws: int = 10,
        seed: int = 0,
        n_init: int = 10,
        images_per_class: int | None = None,
        normalise: bool = False,
        branch: str = "teacher",
        cache_dir: str | None = None,
        precision: str | None = None,
    ) -> None:
        super().__init__(
            runner,
            dataloader,
            evaluator,
            loaders={},
            cache_dir=cache_dir,
            branch=branch,
            precision=precision,
        )
        self.counts = numbers("num_classes", num_classes)
        self.draws, self.seed = draws, seed
        self.settings = dict(n_init=n_init, images_per_class=images_per_class, normalise=normalise)
        if max(self.counts) > self.num_classes:
            raise InputError(
                f"clustering into test_cfg.num_classes={max(self.counts)} classes, but the data "
                f"set has {self.num_classes}: lower it, as in --cfg-options "
                f'test_cfg.num_classes="[2,{self.num_classes}]"'
            )
        for count in self.counts:
            draw_classes(self.num_classes, count, draws=draws, seed=seed)

    def score(self) -> dict[str, float]:
        """Extract the features, cluster every draw and average the scores."""
        features, labels = self.features("test")
        self.check_every_class("test", labels)
        rows = []
        quiet = not (is_main_process() and sys.stdout.isatty())
        with Progress(disable=quiet, transient=True) as progress:
            task = progress.add_task("k-means", total=len(self.counts) * self.draws)

            def keep(draw, score) -> None:
                rows.append(
                    {
                        "classes": len(draw.classes),
                        "draw": draw.number,
                        "nmi": score.nmi,
                        "ari": score.ari,
                        "seed": draw.seed,
                        "drawn": " ".join(map(str, draw.classes)),
                    }
                )
                progress.advance(task)

            curve = clustering_curve(
                features,
                labels,
                self.counts,
                num_classes=self.num_classes,
                draws=self.draws,
                seed=self.seed,
                on_draw=keep,
                **self.settings,
            )
        summaries = {count: summarise(scores) for count, scores in curve.items()}
        if is_main_process():
            table = [{"classes": n, **summary} for n, summary in summaries.items()]
            write_rows(self.out_dir / "draws.csv", rows)
            write_rows(self.out_dir / "clustering.csv", table)
            plot_clustering(curve, self.out_dir / "clustering.png")
            print_rows(f"k-means, {self.draws} draws each, seed {self.seed} (%)", table, scale=100)
        return {
            f"clustering_k{count}/{name}": 100 * value
            for count, summary in summaries.items()
            for name, value in summary.items()
        }
