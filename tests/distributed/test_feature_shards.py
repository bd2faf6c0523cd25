"""Tables, cache files and kNN over shards on one, two and three gloo processes."""

import ctypes
import os
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file

from bam_mm import InputError
from bam_mm.distributed import barrier, rank, world_size
from bam_mm.evaluation import knn_predict, knn_predict_many, knn_predict_shards
from bam_mm.hooks import OnlineKNNHook
from bam_mm.models.cost import peak_mb
from bam_mm.models.feature_extraction import extract_shards
from bam_mm.protocols import feature_files
from bam_mm.protocols.feature_cache import cached_shard, read_features
from tests.distributed.processes import run_processes
from tests.models.fake_features import TABLE_MB, Loader, Wide, resident_mb, unchanged
from tests.models.test_bam import build

WORLDS = (1, 2, 3)
WIDTH = 5
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # From glibc's malloc.h.


def extract(loader, whole, width=WIDTH, **options):
    model = Wide(width)
    options = dict(description="wide", whole=whole, **options)
    return extract_shards({"a": model, "b": model}, unchanged, loader, **options)


def check_tables():
    """Whole tables and shards have every row in its place, also if a process has none."""
    for images in (1, 2, 3, 7, 29):
        wanted = (torch.arange(1.0, 1 + WIDTH) + torch.arange(images)[:, None]) % 2048
        for whole in (True, False):
            for dtype in (torch.float32, torch.float16):
                found = extract(Loader(images, batch=4), whole, dtype=dtype)
                for features, rows, labels in found.values():
                    held = range(images) if whole else range(rank(), images, world_size())
                    assert rows.tolist() == list(held) and features.dtype == dtype
                    assert torch.equal(features, wanted[rows].to(dtype))
                    assert labels.tolist() == [i % 2 for i in range(images)]


def check_wrong_samplers():
    """A lost, repeated or misplaced image is noticed on every process."""
    everything = list(range(6))
    mine = everything[rank() :: world_size()]
    wrong = {
        "5 rows of 5 images": [i for i in mine if i != 4],
        "7 rows of 6 images": mine + ([5] if 5 in mine else []),
        "6 rows of 5 images": [0 if i == 5 else i for i in mine],
    }
    if world_size() > 1:  # Complete, but not the rows of these processes.
        wrong["6 rows of 6 images"] = [5 - i for i in mine]
    for words, indices in wrong.items():
        for whole in (True, False):
            with pytest.raises(InputError, match=f"{words} for a data set of 6"):
                extract(Loader(6, indices=indices), whole)


def check_cache(folder):
    """Sharded and whole runs write the same file, and read the rows that they need."""
    images, model = 29, Wide(WIDTH)

    def run(name, whole):
        options = dict(folder=folder / name, settings={}, description="wide")
        shard = cached_shard(model, unchanged, Loader(images), whole=whole, **options)
        barrier()
        return shard

    wanted = (torch.arange(1.0, 1 + WIDTH) + torch.arange(images)[:, None]) % 2048
    for name, whole in (("whole", True), ("shards", False)):
        written, read = run(name, whole), run(name, whole)
        for shard in (written, read):
            assert torch.equal(shard.features, wanted[shard.rows])
            assert shard.labels.tolist() == [i % 2 for i in range(images)]
        share = [images * n // world_size() for n in (rank(), rank() + 1)]
        assert read.rows.tolist() == list(range(images) if whole else range(*share))
        (path,) = (folder / name).glob("*.safetensors")
        table = load_file(path)
        assert torch.equal(table["features"], wanted) and table["labels"].tolist() == [
            i % 2 for i in range(images)
        ]
    data = path.read_bytes()
    assert data == next((folder / "whole").glob("*.safetensors")).read_bytes()
    barrier()
    if rank() == 0:  # Change the last row: only the process that needs it reads it.
        end = len(data) - table["digests"].nbytes
        path.write_bytes(data[: end - 1] + bytes([data[end - 1] ^ 1]) + data[end:])
    barrier()
    damaged = read_features(path, rows=images, whole=False) is None
    assert damaged == (rank() == world_size() - 1)
    assert torch.equal(run("shards", False).features, wanted[rank() :: world_size()])
    assert path.read_bytes() == data


def ties(seed):
    """Return rows whose cosines are exact multiples of 1/4, many of them equal."""
    g = torch.Generator().manual_seed(seed)
    places = torch.rand(9, 6, generator=g).argsort(1)[:, :4]
    signs = torch.randint(2, (9, 4), generator=g).double() * 2 - 1
    rows = torch.zeros(9, 6, dtype=torch.float64).scatter_(1, places, signs)
    return rows[torch.randint(9, (40,), generator=g)], rows, torch.randint(5, (40,), generator=g)


def check_knn(bank, queries, labels, owners, exact):
    """Compare with the whole bank; ``owners`` is the process that holds each row."""
    rows = (owners % world_size() == rank()).nonzero().flatten()
    options = dict(num_classes=5, ks=sorted({1, min(3, len(bank)), len(bank)}), chunk=4)
    whole = knn_predict_many(bank, labels, queries, **options)
    found = knn_predict_shards(bank[rows], rows, labels, queries, **options)
    for k, scores in whole.items():
        mine = scores[rank() :: world_size()]
        if exact or world_size() == 1:
            assert torch.equal(found[k], mine)
        else:
            torch.testing.assert_close(found[k], mine, rtol=1e-12, atol=1e-9)


def check_neighbours():
    """Neighbours are those of the whole bank: ties, uneven, empty and interleaved shards."""
    for seed in range(6):
        g = torch.Generator().manual_seed(seed)
        bank, queries, labels = ties(seed)
        owners = [
            torch.arange(40),  # as the sampler distributes them
            torch.arange(40) // 14,  # as the cache distributes them
            torch.randint(3, (40,), generator=g),  # uneven
            torch.full((40,), seed % 3),  # all on one process
        ]
        for owner in owners:
            check_knn(bank, queries, labels, owner, exact=True)
        few = torch.arange(2)
        check_knn(bank[:2], queries, labels[:2], few, exact=True)  # fewer rows than processes
        check_knn(bank, queries[:1], labels, owners[0], exact=True)  # fewer queries
        check_knn(bank, queries[:0], labels, owners[0], exact=True)
        random = torch.randn(57, 8, generator=g, dtype=torch.float64)
        check_knn(random[:40], random[40:], labels, owners[2], exact=False)


def check_online_knn():
    """The hook's score is that of a whole bank, whatever the number of queries of a process."""
    scores, model = {}, build()
    model.backbone, model.teacher.backbone = Wide(WIDTH), Wide(3)
    model.data_preprocessor.forward = unchanged
    quiet = SimpleNamespace(add_scalars=lambda *args, **kwargs: None, info=lambda text: None)
    hub = SimpleNamespace(update_scalar=scores.__setitem__)
    runner = SimpleNamespace(model=model, iter=0, visualizer=quiet, logger=quiet, message_hub=hub)
    hook = OnlineKNNHook({}, {}, k=3)
    hook.built = Loader(13, batch=4), Loader(7, batch=4)
    for loader in hook.built:
        loader.dataset.CLASSES = ["a", "b"]
    hook._score(runner)
    for branch, width in (("student", WIDTH), ("teacher", 3)):
        bank = torch.arange(13)[:, None] + torch.arange(1.0, 1 + width)
        votes = knn_predict(bank, torch.arange(13) % 2, bank[:7], num_classes=2, k=3)
        right = (votes.argmax(1) == torch.arange(7) % 2).double().mean().item()
        assert 0 < right < 1 and scores[f"knn/{branch}_top1"] == pytest.approx(100 * right)


def return_freed_memory():
    """Let the C library return every freed buffer, so that the peak is what is in use."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # Someone has chosen: extraction keeps it.
    for setting in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
        assert ctypes.CDLL(None).mallopt(setting, 65536) == 1


def check_memory(folder):
    """A shard takes its share of the table; a whole table is there once, read or computed."""
    return_freed_memory()
    model, alone = Wide(), world_size() == 1
    options = dict(description="wide")
    extract_shards({"": model}, unchanged, Loader(64), whole=True, **options)
    before = resident_mb()
    # A peak never falls, so the process that is measured begins with the smallest.
    for whole in (True,) if alone else (False, True):
        for cached in (True,) if alone else (True, False):
            if cached:
                shard = cached_shard(
                    model, unchanged, Loader(), folder=folder, settings={}, whole=whole, **options
                )
            else:
                shard = extract_shards({"": model}, unchanged, Loader(), whole=whole, **options)[""]
            wanted = (model.steps.detach() + shard.rows[-1]) % 2048
            assert torch.equal(shard.features[-1], wanted)
            del shard
            share, growth = 1 if whole else 0.5, (peak_mb() - before) / TABLE_MB
            if rank() == world_size() - 1:
                assert share - 0.1 < growth < share + 0.3, (whole, cached, growth)


def work(number, world, folder):
    if world < 3 and peak_mb() is not None:
        check_memory(folder / "large")
    check_tables()
    check_wrong_samplers()
    check_neighbours()
    check_online_knn()
    with patch.object(feature_files, "PIECE_BYTES", 4 * 3 * WIDTH):  # Three rows in a piece.
        check_cache(folder / str(world))


def test_one_two_and_three_processes(tmp_path):
    for world in WORLDS:
        run_processes(work, world, tmp_path)
