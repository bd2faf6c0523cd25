"""Time and memory of ``knn_predict`` at ImageNet's size, and compared with other implementations.

    python benchmarks/knn.py

The first bank has the size of ImageNet's training set, 1,281,167 x 768. The second is 100,000 x 768
with 2,000 queries, for which a matrix of all similarities still fits into memory: the baseline. The
second baseline is the flat index of faiss (``pip install faiss-cpu``). Times are medians of
alternating runs. Extra memory is the growth of the peak resident size during one call, in a fresh
process for each implementation.

The bound is the matrix product alone, in the same tiles. It is compared by processor time, on which
other work on the machine has less effect.

Features are 1,000 centres with noise. The bank is ordered by class, like an image folder.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.evaluation import knn_predict
from bam_mm.evaluation.nearest_rows import BANK_ROWS_AT_ONCE
from benchmarks.baselines.faiss_knn import faiss_knn
from benchmarks.baselines.whole_matrix_knn import whole_matrix_knn
from benchmarks.measuring import (
    add_json_option,
    alternate,
    cpu_seconds,
    extra_memory,
    in_fresh_process,
    write_json,
)

CLASSES, K, TEMPERATURE, CHUNK = 1000, 20, 0.07, 1024
IMAGENET = 1_281_167


def make_table(rows: int, dim: int, dtype: torch.dtype, seed: int) -> tuple[torch.Tensor, ...]:
    """Draw features and labels, with little memory in addition to them."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, dim, generator=generator)
    generator.manual_seed(1 + seed)
    labels = torch.arange(rows) * CLASSES // rows
    features = torch.empty(rows, dim, dtype=dtype)
    for part, label in zip(features.split(8192), labels.split(8192), strict=True):
        noise = torch.randn(part.shape, generator=generator)
        part.copy_(noise.mul_(4).add_(centres[label]))
    return features, labels


def ours(bank, labels, queries):
    """Run the implementation of this package."""
    settings = dict(num_classes=CLASSES, k=K, temperature=TEMPERATURE, chunk=CHUNK)
    return knn_predict(bank, labels, queries, **settings)


def dense(bank, labels, queries):
    """Run the baseline."""
    return whole_matrix_knn(bank, labels, queries, CLASSES, K, TEMPERATURE)


def by_faiss(bank, labels, queries):
    """Run the baseline that searches with faiss."""
    return faiss_knn(bank, labels, queries, CLASSES, K, TEMPERATURE)


IMPLEMENTATIONS = {"ours": ours, "dense": dense, "faiss": by_faiss}


def product_seconds(rows: int, queries: int, dim: int) -> dict[str, float]:
    """Return the processor time of the matrix product alone, extrapolated from one tile.

    It is measured with MKL, which ``torch.mm`` uses, and with oneDNN, without the copies into and
    out of its tensors.
    """
    block, part = torch.randn(BANK_ROWS_AT_ONCE, dim), torch.randn(CHUNK, dim)
    tile = torch.empty(CHUNK, BANK_ROWS_AT_ONCE)
    block_of_onednn, part_of_onednn = block.to_mkldnn(), part.to_mkldnn()
    products = {
        "torch.mm": lambda: torch.mm(part, block.T, out=tile),
        "oneDNN": lambda: F.linear(part_of_onednn, block_of_onednn),
    }
    tiles = rows * queries / tile.numel()
    return {
        name: tiles * statistics.median([cpu_seconds(product) for _ in range(16)][1:])
        for name, product in products.items()
    }


def measure_memory(which: str, rows: int, queries: int, dim: int) -> float:
    """Return the extra memory of one call in MiB, after a call on a small input."""
    call = IMPLEMENTATIONS[which]
    small = make_table(64, dim, torch.float32, 0)
    call(*small, small[0])
    table = make_table(rows, dim, torch.float32, 0)
    query_features, _ = make_table(queries, dim, torch.float32, 1)
    return extra_memory(lambda: call(*table, query_features))


def compare(args: argparse.Namespace) -> dict[str, float]:
    """Compare with the baselines, print the results and return the ratios."""
    bank, labels = make_table(args.rows, args.dim, torch.float32, 0)
    queries, truth = make_table(args.queries, args.dim, torch.float32, 1)
    scores = ours(bank, labels, queries)
    top1 = 100 * (scores.argmax(1) == truth).double().mean().item()
    print(f"bank {tuple(bank.shape)}, {len(queries)} queries, k {K}: top-1 {top1:.1f} %")
    processor_time = cpu_seconds(lambda: ours(bank, labels, queries))
    _print_bound(processor_time, args.rows, args.queries, args.dim)
    sizes = ["--rows", args.rows, "--queries", args.queries, "--dim", args.dim]
    memory = {
        which: in_fresh_process(__file__, "--memory", which, *sizes, "--threads", args.threads)
        for which in IMPLEMENTATIONS
    }
    ratios = {}
    for name, prefix in (("dense", ""), ("faiss", "faiss: ")):
        baseline = IMPLEMENTATIONS[name]
        expected = baseline(bank, labels, queries)
        difference = ((scores - expected).abs().max() / expected.max()).item()
        same = (scores.argmax(1) == expected.argmax(1)).double().mean().item()
        print(f"{name}: largest difference {difference:.0e} of the largest score; ", end="")
        print(f"same class: {same:.2%}")
        fast, slow, ratios[f"{prefix}time"] = alternate(
            lambda: ours(bank, labels, queries),
            lambda baseline=baseline: baseline(bank, labels, queries),
            runs=args.runs,
        )
        print(f"  time: ours {fast:.2f} s, {name} {slow:.2f} s, ", end="")
        print(f"ratio {ratios[f'{prefix}time']:.2f}")
        ratios[f"{prefix}extra memory"] = memory[name] / memory["ours"]
        print(
            f"  extra memory: ours {memory['ours']:.0f} MiB, {name} {memory[name]:.0f} MiB, ",
            end="",
        )
        print(f"ratio {ratios[f'{prefix}extra memory']:.1f}")
    return ratios


def imagenet(args: argparse.Namespace) -> dict[str, float]:
    """Run at the size of ImageNet, print the results and return the figures."""
    dtype = getattr(torch, args.dtype)
    bank, labels = make_table(IMAGENET, args.dim, dtype, 0)
    queries, truth = make_table(args.imagenet_queries, args.dim, dtype, 1)
    ours(bank[:64], labels[:64], queries[:64])
    result = {}

    def call():
        start = time.perf_counter()
        result["cpu"] = cpu_seconds(lambda: result.update(scores=ours(bank, labels, queries)))
        result["wall"] = time.perf_counter() - start

    extra = extra_memory(call)
    taken = result["wall"]
    correct = 100 * (result["scores"].argmax(1) == truth).double().mean().item()
    table = len(bank) * len(queries) * 4 / 2**20
    print(f"bank {tuple(bank.shape)} {args.dtype}, {len(queries)} queries: {taken:.1f} s, ", end="")
    print(f"{1e3 * taken / len(queries):.1f} ms per query, top-1 {correct:.1f} %")
    print(f"  extra memory {extra:.0f} MiB; all similarities at once would need {table:.0f} MiB")
    share = _print_bound(result["cpu"], len(bank), len(queries), args.dim)
    return {"seconds": taken, "MiB": extra, "share of the product's speed": share}


def _print_bound(processor_time: float, rows: int, queries: int, dim: int) -> float:
    print(f"  processor time: ours {processor_time:.2f} s; the product alone", end="")
    products = product_seconds(rows, queries, dim)
    for name, product in products.items():
        speed = 2e-9 * rows * queries * dim / product
        print(f", by {name} {product:.2f} s ({speed:.0f} GFLOP/s per thread)", end="")
    share = min(products.values()) / processor_time
    print(f": ours reaches {share:.0%} of the speed of the faster one")
    return share


def main() -> None:
    """Run both measurements and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000, help="bank rows in the comparison")
    parser.add_argument("--queries", type=int, default=2_000, help="queries in the comparison")
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument(
        "--imagenet-queries", type=int, default=1_024, help="queries at ImageNet's size; 0 skips it"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16"),
        default="float32",
        help="type of the features at ImageNet's size",
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", choices=IMPLEMENTATIONS, help="only print extra MiB")
    add_json_option(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory:
        print(measure_memory(args.memory, args.rows, args.queries, args.dim))
        return
    figures = imagenet(args) if args.imagenet_queries else {}
    ratios = compare(args)
    write_json(args.json, ratios, figures)


if __name__ == "__main__":
    main()
