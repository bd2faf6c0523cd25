"""One numbering of the classes of several data sets, by their names."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from mmengine.logging import print_log
from torch import Tensor

from bam_mm.data.class_matching import align
from bam_mm.data.class_names import ClassNames
from bam_mm.models.feature_table import FeatureShard

OPTION = "test_cfg.classes"


class MatchedClasses:
    """Labels of the data sets of a feature protocol, in the numbering of the labelled images.

    The classes of the bank (kNN) or of the training images (logistic regression) are known, and
    those of the other data sets are matched with them by name. With ``subset``, ``index`` or
    ``order``, images of classes that the test images lack are left out everywhere.

    Args:
        parts: Class names by loader. The first one other than ``test`` is that of the known
            classes; ``test`` itself if it is the only one.
        reading: Value of ``test_cfg.classes``, see :func:`bam_mm.data.class_matching.align`.

    Raises:
        InputError: If the classes do not match.
    """

    def __init__(self, parts: Mapping[str, ClassNames], reading: str | None = None) -> None:
        first = next((name for name in parts if name != "test"), "test")
        known = parts[first]
        tested = align(known, parts["test"], reading, option=OPTION)
        if tested.note and first != "test":
            level = logging.WARNING if tested.warning else logging.INFO
            print_log(tested.note, logger="current", level=level)
        size = known.count or 0
        kept = list(range(size))
        if reading != "all" and tested.columns is not None and len(tested.columns) < size:
            kept = list(tested.columns)
        self.names = [known.namings[0][number] for number in kept]
        self.counts = tested.counts()
        own = {known_number: number for number, known_number in enumerate(kept)}
        self.labels: dict[str, Tensor | None] = {}
        for name, names in parts.items():
            # Validation images may lack classes wherever test images may.
            own_reading = reading if name == "test" else ("all" if reading else None)
            columns = align(known, names, own_reading, option=OPTION).columns
            order = range(size) if columns is None else columns[: names.count]
            labels = [own.get(number, -1) for number in order]
            same = labels == list(range(size))
            self.labels[name] = None if same else torch.tensor(labels)

    def relabel(self, name: str, shard: FeatureShard) -> FeatureShard:
        """Number the labels of a data set as the known classes, without images of other classes.

        Args:
            name: Name of the loader.
            shard: Features with the labels of the data set.

        Returns:
            The features of the images that are kept, and the labels of all images that are kept.
        """
        table = self.labels[name]
        if table is None:
            return shard
        labels = table.to(shard.labels.device)[shard.labels]
        kept = labels >= 0
        mine = kept[shard.rows]
        rows = (kept.cumsum(0) - 1)[shard.rows[mine]]
        return FeatureShard(shard.features[mine], rows, labels[kept])

    def kept(self, name: str, labels: Tensor) -> Tensor:
        """Return the images of a data set that :meth:`relabel` keeps.

        Args:
            name: Name of the loader.
            labels: (N,) labels of the data set.

        Returns:
            (n,) ascending indices.
        """
        table = self.labels[name]
        if table is None:
            return torch.arange(len(labels))
        return (table[labels] >= 0).nonzero().flatten()
