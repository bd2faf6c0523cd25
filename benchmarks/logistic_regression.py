"""Time of the sweep over 45 penalties, compared with fits of scikit-learn that start from zero.

    python benchmarks/logistic_regression.py

Features are class centres with noise whose scale decreases from dimension to dimension, as for the
features of a network. Both implementations use the same data, penalties, tolerance and maximum
number of iterations. Ours goes from the strongest penalty to the weakest and starts each fit from
the previous ones. The bound is the time of the two matrix products in each of its iterations.
"""

import argparse
import sys
import warnings
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.evaluation import PENALTIES, logistic_regression_sweep
from benchmarks.baselines.cold_logistic_regression import cold_sweep
from benchmarks.measuring import add_json_option, alternate, seconds, write_json


def make_tables(rows: int, dim: int, classes: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Draw features of training, validation (a quarter as many) and test images (as many)."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(0, -2, dim).exp()
    centres = torch.randn(classes, dim, generator=generator)
    tables = []
    for count in (rows, rows // 4, rows):
        labels = torch.arange(count) % classes
        noise = torch.randn(count, dim, generator=generator)
        tables.append(((centres[labels] + 8 * noise) * scale, labels))
    return tables


def ours(tables, classes: int, tolerance: float, max_iter: int):
    """Run the implementation of this package."""
    settings = dict(num_classes=classes, tolerance=tolerance, max_iter=max_iter)
    return logistic_regression_sweep(*tables, **settings)


def cold(tables, tolerance: float, max_iter: int):
    """Run the baseline, without the warnings of fits that reach the last iteration."""
    arrays = [(features.numpy(), labels.numpy()) for features, labels in tables]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cold_sweep(*arrays, list(PENALTIES), tolerance, max_iter)


def product_seconds(features: torch.Tensor, classes: int) -> float:
    """Return the median time of the matrix products in one evaluation of loss and gradient."""
    weight = torch.randn(classes, features.shape[1])
    logits = torch.empty(classes, len(features))
    gradient = torch.empty_like(weight)

    def both():
        torch.mm(weight, features.T, out=logits)
        torch.mm(logits, features, out=gradient)

    return sorted(seconds(both) for _ in range(9))[4]


def main() -> None:
    """Run the comparison and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000, help="number of training images")
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--max-iter", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    add_json_option(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    threadpool_limits(args.threads)  # for NumPy in the baseline
    tables = make_tables(args.rows, args.dim, args.classes)
    solver = args.tolerance, args.max_iter
    sweep = ours(tables, args.classes, *solver)
    scores, penalty, test_score, iterations = cold(tables, *solver)
    worst = max(abs(a - b) for a, b in zip(sweep.val_scores, scores, strict=True))
    print(f"{args.rows} x {args.dim} training images, {args.classes} classes, 45 penalties")
    print(f"penalty chosen: ours {sweep.penalty:.3g}, scikit-learn {penalty:.3g}")
    print(f"test top-1: ours {sweep.test_score:.2%}, scikit-learn {test_score:.2%}; ", end="")
    print(f"validation of one penalty differs by {100 * worst:.1f} points at most")
    print(f"iterations: ours {sum(sweep.iterations)}, scikit-learn {iterations}")
    fast, slow, ratio = alternate(
        lambda: ours(tables, args.classes, *solver), lambda: cold(tables, *solver), runs=args.runs
    )
    print(f"time: ours {fast:.2f} s, scikit-learn {slow:.2f} s, ratio {ratio:.2f}")
    product = product_seconds(tables[0][0], args.classes) * sum(sweep.iterations)
    print(f"  the products of {sum(sweep.iterations)} iterations alone: {product:.2f} s")
    figures = {
        "seconds": fast,
        "scikit-learn seconds": slow,
        "penalty": sweep.penalty,
        "scikit-learn penalty": penalty,
        "largest difference of a validation accuracy": worst,
    }
    write_json(args.json, {"time": ratio}, figures)


if __name__ == "__main__":
    main()
