"""Options on the command line change every entry that uses a variable."""

import pytest

from bam_mm import InputError
from bam_mm.launch.config import load_config

CONFIG = """
data_root = 'here'
layout = dict(num_global=2, num_local=0)
other_root = 'here'
pipeline = [dict(type='A', layout=layout), dict(x=1)]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=pipeline))
val = [dict(data_root=data_root), dict(data_root='elsewhere')]
model = dict(layout=layout, pre=dict(layout=dict(num_global=1)))
size = (8, 8)
edges = [1, 2]
crop = dict(size=size, edges=edges)
metric = dict(ann_file=data_root + '/annotations/val.json', other='hereafter/x.json')
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "c.py"
    file.write_text(CONFIG)
    return file


def test_a_variable_changes_everywhere_it_is_used(path):
    config = load_config(path, {"data_root": "there"})
    assert config.train_dataloader.dataset.data_root == "there"
    assert [v.data_root for v in config.val] == ["there", "elsewhere"]
    assert config.other_root == "here"


def test_paths_below_the_data_root_change_with_it(path):
    config = load_config(path, {"data_root": "there/"})
    assert config.metric == dict(ann_file="there/annotations/val.json", other="hereafter/x.json")


def test_a_field_of_a_variable_changes_everywhere(path):
    config = load_config(path, {"layout.num_local": 6})
    assert config.train_dataloader.dataset.pipeline[0].layout.num_local == 6
    assert config.model.layout.num_local == 6
    assert config.model.pre.layout == dict(num_global=1)


@pytest.mark.parametrize("given", [(4, 6), [4, 6]])
def test_a_tuple_stays_a_tuple_and_a_list_a_list(path, given):
    # mmseg's RandomCrop rejects a list, which the command line creates for "size=4,6".
    config = load_config(path, {"size": given, "edges": given})
    assert config.crop.size == (4, 6) and isinstance(config.crop.size, tuple)
    assert config.crop.edges == [4, 6] and isinstance(config.crop.edges, list)


def test_a_nested_option_changes_only_its_entry(path):
    config = load_config(path, {"train_dataloader.dataset.data_root": "there"})
    assert config.train_dataloader.dataset.data_root == "there" and config.data_root == "here"
    assert config.val[0].data_root == "here"


def test_missing_config():
    with pytest.raises(InputError, match=r"config nowhere\.py does not exist"):
        load_config("nowhere.py")
