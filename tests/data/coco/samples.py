"""The toy world's instances without images, and what mmdet makes of such files."""

import copy
import functools
import json

import numpy as np
import torch
from mmengine.logging import MMLogger

from bam_mm.data.coco import api
from bam_mm.data.toy.coco import annotations_of
from bam_mm.data.toy.dense import HEIGHT, WIDTH, dense_scenes
from bam_mm.data.toy.scene import CLASS_NAMES


@functools.cache
def _content():
    images, annotations = [], []
    for number, scene in enumerate(dense_scenes("val", 6, 3), 1):
        _, ids = scene.render()
        images.append(dict(id=number, file_name=f"{number}.jpg", height=HEIGHT, width=WIDTH))
        for entry in annotations_of(scene, ids):
            annotations.append(dict(id=len(annotations) + 1, image_id=number, **entry))
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASS_NAMES, 1)]
    return dict(images=images, annotations=annotations, categories=categories)


def content():
    """Return a copy of sound content: six images with polygons, and crowds with run lengths."""
    return copy.deepcopy(_content())


def small(**changes):
    """Return content with one image of 100x80 px and one box with a polygon, and changes to it."""
    annotation = dict(
        id=1,
        image_id=1,
        category_id=1,
        bbox=[10, 20, 30, 40],
        area=1200,
        iscrowd=0,
        segmentation=[[10, 20, 40, 20, 40, 60, 10, 60]],
    )
    return dict(
        images=[dict(id=1, file_name="a.jpg", width=100, height=80)],
        annotations=[{k: v for k, v in {**annotation, **changes}.items() if v != "removed"}],
        categories=[dict(id=1, name="cat")],
    )


def write(path, found):
    path.write_text(json.dumps(found))
    return str(path)


def data_set(path, classes=CLASS_NAMES, **settings):
    """Build mmdet's data set of a file, through the checked interface."""
    from mmdet.datasets import CocoDataset

    api.install()
    return CocoDataset(
        ann_file=path,
        metainfo=dict(classes=classes),
        pipeline=[],
        data_prefix=dict(img="images"),
        **settings,
    )


def metric_of(path, classes=CLASS_NAMES, metric=("bbox", "segm"), **settings):
    """Build mmdet's metric of a file, through the checked interface."""
    from mmdet.evaluation.metrics import CocoMetric

    api.install()
    MMLogger.get_current_instance()
    found = CocoMetric(ann_file=path, metric=list(metric), **settings)
    found.dataset_meta = dict(classes=classes)
    return found


def scores(path, classes=CLASS_NAMES, metric=("bbox", "segm"), shift=3):
    """Return the metrics of fixed predictions: the sound objects, moved, and some invented ones.

    Labels are those of the data set, found by the names of the sound content's categories.
    """
    metric = metric_of(path, classes, metric)
    images = metric._coco_api.dataset["images"]
    names = {entry["file_name"]: entry["id"] for entry in images}
    order = {name: number for number, name in enumerate(classes)}
    for image in _content()["images"]:
        metric.process({}, [_prediction(image, names[image["file_name"]], order, shift)])
    return metric.compute_metrics(metric.results)


def _prediction(image, image_id, order, shift):
    found = [a for a in _content()["annotations"] if a["image_id"] == image["id"]]
    boxes, labels, masks = [], [], []
    for number, entry in enumerate(found):
        x, y, w, h = entry["bbox"]
        x += shift * (number % 3)
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[y : y + h, x : x + w] = True
        boxes.append([x, y, x + w, y + h])
        masks.append(mask)
        labels.append(order[CLASS_NAMES[entry["category_id"] - 1]])
    count = len(found)
    instances = dict(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(count, 4),
        # No two scores are equal, because their order would depend on that of the images.
        scores=torch.linspace(0.9, 0.3, count) - image["id"] / 1000,
        labels=torch.tensor(labels, dtype=torch.int64),
        masks=torch.from_numpy(np.stack(masks)),
    )
    return dict(img_id=image_id, ori_shape=(HEIGHT, WIDTH), pred_instances=instances)
