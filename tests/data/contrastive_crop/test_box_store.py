"""The box store: its contents, its errors, and its updates in running workers."""

import copy
import os

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from bam_mm import InputError
from bam_mm.data import BoxStore, MultiCrop

pytestmark = pytest.mark.slow

CORNER = (0.9, 0.9, 1.0, 1.0)


class Images(Dataset):
    """Images that are black except for one corner, as views of a real MultiCrop."""

    def __init__(self, count):
        self.count = count
        plain = [dict(jitter_prob=0, gray_prob=0, blur_prob=0)] * 2
        self.crop = MultiCrop(
            dict(num_global=2, num_local=0, global_size=8),
            global_scale=(0.1, 0.1),
            photometric=plain,
            photometric_place="worker",
        )

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        image = np.zeros((40, 40, 3), np.uint8)
        image[22:, 22:] = 255
        views = self.crop(dict(img=image, sample_idx=index))["img"]
        return index, os.getpid(), np.stack(views).mean(axis=(1, 2, 3))


@pytest.mark.parametrize("start, copied", [("fork", False), ("spawn", False), ("fork", True)])
def test_a_running_worker_uses_the_new_boxes_in_the_next_epoch(start, copied):
    images = Images(16)
    if copied:  # as BaseDataset.get_subset does
        images = copy.deepcopy(images)
    store = images.crop.boxes
    store.allocate(len(images))
    loader = DataLoader(
        images, batch_size=8, num_workers=1, persistent_workers=True, multiprocessing_context=start
    )

    def epoch():
        batches = list(loader)
        pids = {int(pid) for batch in batches for pid in batch[1]}
        return pids, torch.cat([batch[2] for batch in batches])

    workers, before = epoch()
    assert before.min() < 50 and os.getpid() not in workers
    store.update(torch.arange(8), torch.tensor([CORNER] * 8))
    same, after = epoch()
    # Crops in the corner are white; the other eight images have no box yet.
    assert same == workers and len(workers) == 1
    assert after.shape == (16, 2) and after[:8].min() > 250 and after[8:].min() < 50
    store.update(torch.arange(8, 16), torch.tensor([CORNER] * 8))
    same, last = epoch()
    assert same == workers and last.min() > 250


def test_update_and_load():
    store = BoxStore()
    assert len(store) == 0 and not store.active
    store.allocate(3)
    assert len(store) == 3 and not store.active and store.box(1) == (0, 0, 1, 1)
    store.update(torch.tensor([2, 0]), torch.tensor([[0.25, 0.5, 0.75, 1], [0, 0, 0.5, 0.5]]))
    assert store.active and store.box(2) == (0.25, 0.5, 0.75, 1) and store.box(1) == (0, 0, 1, 1)
    other = BoxStore()
    other.allocate(3)
    other.load(store.boxes.clone())
    assert other.active and torch.equal(other.boxes, store.boxes)
    other.allocate(4)
    assert len(other) == 4 and not other.active


def test_wrong_input():
    store = BoxStore()
    store.allocate(3)
    box = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    with pytest.raises(InputError, match=r"images 3 to 3, but the training set has 3 images"):
        store.update(torch.tensor([3]), box)
    for wrong in ([0.5, 0, 0.5, 1], [0, 0.6, 1, 0.5], [-0.1, 0, 1, 1], [0, 0, 1, float("nan")]):
        with pytest.raises(InputError, match=r"box of image 1 is \["):
            store.update(torch.tensor([0, 1]), torch.cat([box, torch.tensor([wrong])]))
    with pytest.raises(InputError, match=r"boxes of shape \(4, 4\), but the training set has 3"):
        store.load(box.repeat(4, 1))
    assert not store.active
