"""kNN features, predictions and monitored values on two gloo processes equal those on one."""

import torch
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from bam_mm.data.toy import make_world
from bam_mm.evaluation import knn_predict
from bam_mm.hooks.collapse_monitor import feature_std
from bam_mm.launch.config import load_config
from bam_mm.losses import match_attention
from bam_mm.models.feature_extraction import extract_features
from bam_mm.registry import DATASETS, MODELS
from tests.distributed.processes import run_processes
from tests.end_to_end.test_exact_resume import CONFIG

BATCH, DIM, VIEWS = 10, 24, 2


def projections():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(VIEWS, BATCH, DIM, dtype=torch.float64, generator=generator)


def values_of(images, rank=0, world=1):
    """Compute all values to compare, in this process."""
    init_default_scope("mmpretrain")
    config = load_config(CONFIG, {"data_root": str(images)})
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    rows = {}
    for name, loader in (("bank", config.knn_bank), ("queries", config.knn_queries)):
        dataset = DATASETS.build(loader.dataset)
        # The same split as mmengine's DefaultSampler with round_up=False.
        mine = range(rank, len(dataset), world)
        loader = DataLoader(dataset, batch_size=7, sampler=mine, collate_fn=default_collate)
        rows[name] = extract_features(
            model.branch("teacher"), model.data_preprocessor, loader, description=name, gather=True
        )
    votes = knn_predict(*rows["bank"], rows["queries"][0], num_classes=9, k=5)
    share = BATCH // world
    mine = projections()[:, rank * share : (rank + 1) * share].reshape(VIEWS * share, DIM)
    matching = match_attention(
        mine, mine + 0.1, num_views=VIEWS, num_global=VIEWS, with_entropies=True
    )
    return {
        **{
            f"{name} {what}": t
            for name, pair in rows.items()
            for what, t in zip("xy", pair, strict=True)
        },
        "votes": votes,
        "feature_std": feature_std(mine),
        "attention_entropy": matching.attention_entropy,
        "target_entropy": matching.target_entropy,
    }


def work(rank, world, images, out):
    torch.save(values_of(images, rank, world), f"{out}/{rank}.pth")


def test_one_process_equals_two(tmp_path):
    # 9 classes: 45 images in the bank and 18 queries; the processes have 23 and 22 of the 45.
    make_world(tmp_path / "world", scale=45 / 4000)
    images = tmp_path / "world/images"
    one = values_of(images)
    assert len(one["bank x"]) % 2 == 1
    run_processes(work, 2, images, tmp_path)
    for rank in range(2):
        two = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        assert two.keys() == one.keys()
        for key, value in one.items():
            if value.dtype == torch.int64:
                assert torch.equal(two[key], value), key
            else:
                # Other batches round differently in float32; the monitor is in float64.
                tolerance = 1e-5 if value.dtype == torch.float32 else 1e-12
                torch.testing.assert_close(two[key], value, atol=tolerance, rtol=0, msg=key)
        assert torch.equal(two["votes"].argmax(1), one["votes"].argmax(1))
