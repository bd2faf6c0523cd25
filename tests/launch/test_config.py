"""Options on the command line reach every place where a variable is used."""

import pytest

from bam_mm import InputError
from bam_mm.launch.config import load_config

CONFIG = """
data_root = 'here'
layout = dict(num_global=2, num_local=0)
other_root = 'here'
train = dict(dataset=dict(data_root=data_root, pipeline=[dict(type='A', layout=layout), dict(x=1)]))
val = [dict(data_root=data_root), dict(data_root='elsewhere')]
model = dict(layout=layout, pre=dict(layout=dict(num_global=1)))
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "c.py"
    file.write_text(CONFIG)
    return file


def test_a_variable_moves_everywhere_it_was_used(path):
    config = load_config(path, {"data_root": "there"})
    assert config.train.dataset.data_root == "there"
    assert [v.data_root for v in config.val] == ["there", "elsewhere"]
    assert config.other_root == "here"


def test_a_field_of_a_variable_moves_everywhere(path):
    config = load_config(path, {"layout.num_local": 6})
    assert config.train.dataset.pipeline[0].layout.num_local == 6
    assert config.model.layout.num_local == 6
    assert config.model.pre.layout == dict(num_global=1)


def test_a_nested_option_stays_where_it_is(path):
    config = load_config(path, {"train.dataset.data_root": "there"})
    assert config.train.dataset.data_root == "there" and config.data_root == "here"
    assert config.val[0].data_root == "here"


def test_missing_config():
    with pytest.raises(InputError, match=r"config nowhere\.py does not exist"):
        load_config("nowhere.py")
