"""drop_last and shuffle beside a sampler, which torch refuses."""

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from bam_mm.launch.samplers import move_to_samplers


class Images:
    def __len__(self):
        return 8

    def get_data_info(self, index):
        return {"width": 4, "height": 3}


@pytest.mark.parametrize(
    ("option", "batches"), [({"drop_last": True}, 2), ({"drop_last": False}, 3), ({}, 3)]
)
def test_drop_last_of_a_loader_with_a_batch_sampler(option, batches):
    loader = dict(
        batch_size=3, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False),
        batch_sampler=dict(type="mmdet.AspectRatioBatchSampler"), dataset=Images(), **option,
    )  # fmt: skip
    config = Config(dict(train_dataloader=loader, val_dataloader=None))
    move_to_samplers(config)
    assert "drop_last" not in config.train_dataloader
    built = Runner.build_dataloader(config.train_dataloader, seed=0)
    assert len(built) == len(list(built.batch_sampler)) == batches


def test_shuffle_of_a_loader_with_a_sampler():
    loader = dict(
        batch_size=8, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=Images(), shuffle=True, drop_last=False,
    )  # fmt: skip
    config = Config(dict(test_dataloader=loader))
    move_to_samplers(config)
    assert config.test_dataloader.drop_last is False  # torch's own option without a batch sampler.
    built = Runner.build_dataloader(config.test_dataloader, seed=0)
    assert sorted(built.sampler) == list(range(8)) != list(built.sampler)
