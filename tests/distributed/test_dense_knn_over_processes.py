"""Dense kNN on two and three gloo processes equals that on one."""

import pytest
import torch

from bam_mm.protocols.unit_scores import read_units
from tests.distributed.processes import run_processes
from tests.protocols.dense_knn_runs import evaluate, write_stripes

SETTINGS = dict(noise=1.0, k=5, bank_size=63, temperature=0.1)


def work(rank, world, root, out):
    evaluate(root, out, launcher="pytorch", **SETTINGS)


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    root = tmp_path_factory.mktemp("stripes")
    # With three processes, one has no test image; the images of the bank have unequal shares.
    write_stripes(root, train=7, val=2, unlabelled=(255,), speckled=True)
    return root


@pytest.fixture(scope="module")
def alone(stripes, tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("alone")
    assert evaluate(stripes, out, **SETTINGS)["mIoU"] < 99
    return out


@pytest.mark.parametrize("world", [2, 3])
def test_processes_change_nothing(world, stripes, alone, tmp_path):
    run_processes(work, world, stripes, tmp_path)
    assert (tmp_path / "metrics.json").read_text() == (alone / "metrics.json").read_text()
    one, many = (read_units(folder / "units.npz") for folder in (alone, tmp_path))
    assert one.names == many.names
    for key, score in one.scores.items():
        assert (score.numerators == many.scores[key].numerators).all()
