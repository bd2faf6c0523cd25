"""Missing folders and files of detection and segmentation configs."""

import json

import pytest
from mmengine.config import Config

from bam_mm import InputError
from bam_mm.launch.data_folders import check_data_folders
from tests.data.coco.samples import small


def config(root, scope="mmdet", metainfo={"classes": ("cat",)}):  # noqa: B006
    data = dict(
        type="CocoDataset",
        metainfo=metainfo,
        data_root=str(root),
        ann_file="a/i.json",
        data_prefix=dict(img="train/"),
    )
    test = dict(dataset=dict(data_root="not needed"))
    return Config(
        dict(
            default_scope=scope,
            train_dataloader=dict(dataset=data),
            val_dataloader=None,
            test_dataloader=test,
        )
    )


def test_missing_data_one_after_the_other(tmp_path):
    root = tmp_path / "coco"
    with pytest.raises(InputError, match=r"data folder .*coco of train_dataloader does not exist"):
        check_data_folders(config(root))
    (root / "a").mkdir(parents=True)
    with pytest.raises(InputError, match=r"a/i\.json does not exist \(.*coco has: a\)"):
        check_data_folders(config(root))
    (root / "a/i.json").write_text(json.dumps(small()))
    with pytest.raises(InputError, match=r"train/ does not exist|coco/train does not exist"):
        check_data_folders(config(root))
    (root / "train").mkdir()
    check_data_folders(config(root))
    check_data_folders(config(tmp_path / "nowhere", scope="mmpretrain"))
    # Without class names in the config, those of mmdet's data set count.
    with pytest.raises(InputError, match=r"has 1 categories \(cat\), and 79 of the 80 classes"):
        check_data_folders(config(root, metainfo={}))
    with pytest.raises(InputError, match=r"^metainfo\.classes='cat' is a text and no file"):
        check_data_folders(config(root, metainfo={"classes": "cat"}))
    tested = config(root)
    tested.train_dataloader = None
    with pytest.raises(InputError, match="data folder not needed of test_dataloader"):
        check_data_folders(tested)
