"""Pictures of detections and segmentations show the contents of the data samples."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from bam_mm.figures.predictions import (
    WIDTH,
    ShowPredictionsHook,
    classes_of,
    paint_map,
    panels_of,
    read_classes,
    write_picture,
)

HEIGHT = 120  # of an image that is as wide as a panel, so nothing is scaled


@pytest.fixture
def image():
    return np.full((HEIGHT, WIDTH, 3), 100, np.uint8)


def mask_of_box(*corners):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    x, y, right, bottom = corners
    mask[y:bottom, x:right] = True
    return mask


def detections(path="", scores=(0.9, 0.2)):
    boxes = [(20, 40, 80, 100), (140, 40, 200, 100)]
    masks = np.stack([mask_of_box(*box) for box in boxes])
    sample = DetDataSample(metainfo=dict(img_path=str(path)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes[:1]).float(),
        labels=torch.tensor([1]),
        masks=BitmapMasks(masks[:1].astype(np.uint8), HEIGHT, WIDTH),
    )
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor(boxes).float(),
        labels=torch.tensor([1, 0]),
        masks=torch.from_numpy(masks),
        scores=torch.tensor(scores),
    )
    return sample


def changed(panel, image):
    return (panel != image[:, :, ::-1]).any(axis=2)


def test_instances_are_painted_in_place_and_low_scores_left_out(image):
    truth, predicted = panels_of(image, detections(), ("dog", "cat"), score=0.3)
    for panel in (truth, predicted):
        inside = changed(panel, image)[40:100]
        # A pixel of the text may have the grey of the image.
        assert inside[:, 20:80].mean() > 0.98 and not inside[:, 100:].any()
    # The same class has the same colour, but the prediction's score follows its name.
    assert (truth[80, 50] == predicted[80, 50]).all() and (truth != predicted).any()
    [_, both] = panels_of(image, detections(), ("dog", "cat"), score=0.1)
    assert changed(both, image)[70, 170]
    assert np.abs(both[80, 50].astype(int) - both[80, 170]).max() > 30


def test_a_picture_names_the_classes_that_it_shows(image, tmp_path):
    sample = detections()
    assert [*classes_of(sample, ("dog", "cat"), score=0.3)] == ["cat"]
    both = classes_of(sample, ("dog", "cat"), score=0.1)
    assert [*both] == ["dog", "cat"]
    panel = panels_of(image, sample, ("dog", "cat"), score=0.1)[1].astype(int)
    maps = SegDataSample(metainfo=dict(img_path=""))
    labels = torch.full((1, HEIGHT, WIDTH), 255)
    labels[:, :, :50] = 1
    maps.gt_sem_seg = PixelData(data=labels)
    assert classes_of(maps, ("dog", "cat"), score=0.3) == {"cat": both["cat"]}
    for name, place in (("dog", (80, 170)), ("cat", (80, 50))):
        colour = [*bytes.fromhex(both[name][1:])]
        assert np.abs(panel[place] - (0.5 * np.array(colour) + 50)).max() <= 1  # Half is the image.
    path = write_picture(image, tmp_path / "a.png", both)
    assert read_classes(path) == both and (np.asarray(Image.open(path)) == image).all()
    (tmp_path / "b.png").write_text("no image")
    assert read_classes(tmp_path / "b.png") == {}


def test_the_most_confident_detection_is_on_top(image):
    sample = detections(scores=(0.5, 0.9))
    sample.pred_instances.masks[0] = sample.pred_instances.masks[1]
    over = panels_of(image, sample, (), score=0.3)[1]
    sample.pred_instances = sample.pred_instances[1:]
    alone = panels_of(image, sample, (), score=0.3)[1]
    assert (over[70, 170] == alone[70, 170]).all()


def test_a_map_has_one_colour_per_class_and_none_where_unlabelled(image):
    labels = np.zeros((HEIGHT, WIDTH), np.int64)
    labels[:, 80:160], labels[:, 160:] = 1, 255
    painted = paint_map(image, labels)
    assert len({tuple(painted[60, x]) for x in (40, 120, 200)}) == 3
    assert (painted[60, 200] == 100).all() and changed(painted, image)[:, :160].all()


def test_the_first_images_of_a_test_are_written(image, tmp_path):
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), image)
    maps = SegDataSample(metainfo=dict(img_path=str(path)))
    maps.gt_sem_seg = maps.pred_sem_seg = PixelData(data=torch.ones(1, HEIGHT, WIDTH))
    data = SimpleNamespace(dataset=SimpleNamespace(metainfo={"classes": ("dog", "cat")}))
    runner = SimpleNamespace(test_dataloader=data, work_dir=str(tmp_path))
    hook = ShowPredictionsHook(num=3)
    hook.before_test(runner)
    for step in range(3):
        hook.after_test_iter(runner, step, outputs=[detections(path), maps])
    written = sorted((tmp_path / "predictions").iterdir())
    assert [p.name for p in written] == [f"0{i}_photo.png" for i in range(3)]
    sizes = {Image.open(p).size for p in written}
    assert sizes == {(3 * WIDTH + 8, HEIGHT)}
    hook.before_test(runner)  # A second test starts over.
    assert hook._drawn == 0
