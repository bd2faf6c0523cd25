"""Data sets of a benchmark's runs are read as in the runs themselves."""

import pytest
from mmengine.config import Config

from bam_mm import InputError
from bam_mm.suite.limiting import limit_data
from bam_mm.suite.validating import data_sizes
from tests.data.coco.samples import small, write


@pytest.fixture(autouse=True)
def plain_mmdet(monkeypatch):
    """Read files as before anything in this process has let mmdet read checked ones."""
    # Behind bam_mm, which provides the operators of mmcv.
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.api_wrappers import COCO
    from mmdet.evaluation.metrics import coco_metric

    monkeypatch.setattr(CocoDataset, "COCOAPI", COCO)
    monkeypatch.setattr(coco_metric, "COCO", COCO)


def config(root, **changes):
    found = small(**changes)
    found["images"].append(dict(found["images"][0], id=2, file_name="b.jpg"))
    write(root / "i.json", found)
    (root / "images").mkdir(exist_ok=True)
    data = dict(
        type="CocoDataset",
        metainfo=dict(classes=("cat",)),
        data_root=str(root),
        ann_file="i.json",
        data_prefix=dict(img="images/"),
        test_mode=True,
        pipeline=[],
    )
    return Config(dict(default_scope="mmdet", test_dataloader=dict(batch_size=4, dataset=data)))


INCOMPLETE = dict(area="removed", iscrowd="removed")


def test_a_limit_on_a_file_that_needs_repairs(tmp_path):
    limited = config(tmp_path, **INCOMPLETE)
    limit_data(limited, 1)
    assert limited.test_dataloader.dataset.indices == [0]
    assert limited.test_dataloader.batch_size == 1


def test_the_sizes_of_a_file_that_needs_repairs(tmp_path):
    assert data_sizes(config(tmp_path, **INCOMPLETE)) == "test 2"


@pytest.mark.parametrize("read", [lambda c: limit_data(c, 1), data_sizes])
def test_faults_of_the_data_are_messages(read, tmp_path):
    with pytest.raises(InputError, match=r"annotation 1 in .*i\.json has iscrowd 2: write 0 for"):
        read(config(tmp_path, iscrowd=2))
    found = config(tmp_path)
    found.test_dataloader.dataset.data_root = str(tmp_path / "none")
    with pytest.raises(InputError, match=r"data folder .*none of test_dataloader does not exist"):
        read(found)
