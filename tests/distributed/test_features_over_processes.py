"""Feature protocols on two gloo processes equal those on one: metrics, tables and caches."""

import os
import re

import pytest
import torch
from safetensors.torch import load_file

from bam_mm import InputError
from bam_mm.data.toy import make_world
from tests.distributed.processes import run_processes
from tests.protocols.feature_runs import evaluate
from tests.protocols.test_feature_cache import Bench

PROTOCOLS = ("knn", "logreg", "cluster")


def work(rank, world, images, out):
    for protocol in PROTOCOLS:
        evaluate(protocol, images, out, launcher="pytorch")


def contents(folder):
    """Read tables and metrics, but not mmengine's logs, whose folder is named by the start time."""
    files = [
        p
        for p in folder.rglob("*")
        if p.suffix in (".csv", ".json", ".npz") and not re.search(r"/\d{8}_\d{6}/", str(p))
    ]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    make_world(root, scale=0.019)  # 76 and 19 images: 19 is odd
    return root / "images"


def test_one_process_equals_two(images, tmp_path):
    # One intra-op thread in all processes, so that sums have the same order.
    torch.set_num_threads(1)
    for protocol in PROTOCOLS:
        evaluate(protocol, images, tmp_path / "one")
    run_processes(work, 2, images, tmp_path / "two")
    caches = [
        {p.name: load_file(p) for p in (tmp_path / n / "cache").glob("*.safetensors")}
        for n in ("one", "two")
    ]
    assert caches[0].keys() == caches[1].keys() and len(caches[0]) == 2
    assert sorted(len(t["labels"]) for t in caches[0].values()) == [19, 76]
    for name, table in caches[0].items():
        assert torch.equal(table["labels"], caches[1][name]["labels"])
        torch.testing.assert_close(
            table["features"], caches[1][name]["features"], atol=1e-5, rtol=0
        )
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one.keys() == two.keys() and {"knn.json", "logreg.json", "cluster.json"} <= one.keys()
    same = ("knn.json", "knn/knn.csv", "knn/units.npz", "logreg.json", "logreg/units.npz")
    for name in (*same, "cluster.json"):
        assert one[name] == two[name], name


def look_at_files(rank, world, images, out):
    """Save how often this process looks at an image or its folder when the features are cached."""
    bench = Bench(images, out / "cache")
    features = bench.run()[0]
    loader, stat, seen = bench.loader(), os.stat, []

    def counted(path, *args, **kwargs):
        seen.append(str(path))
        return stat(path, *args, **kwargs)

    os.stat = counted
    again, _, calls = bench.run(loader)
    os.stat = stat
    assert calls == 0 and torch.equal(again, features)
    seen = [path for path in seen if path.startswith(str(images / "train"))]
    if rank == 1:
        bench.model.backbone.conv1.weight.data[0, 0, 0, 0] += 1e-6
    faults = []
    for folder in (bench.cache, None):
        bench.cache = folder
        with pytest.raises(InputError, match="processes 0 and 1 hold different weights") as error:
            bench.run()
        faults.append(str(error.value))
    torch.save(dict(seen=seen, faults=faults), out / f"{rank}.pt")


def test_one_process_looks_at_the_files_and_different_weights_are_reported(images, tmp_path):
    run_processes(look_at_files, 2, images, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    files = [str(path) for path in (images / "train").rglob("*.jpg")]
    folders = [str(path) for path in (images / "train").iterdir()]
    assert sorted(first["seen"]) == sorted([*files, *folders]) and len(files) == 76
    assert second["seen"] == []
    assert "diff_rank_seed=False" in first["faults"][0] and first["faults"] == second["faults"]
