"""What pretraining on many GPUs needs: loaders, network, memory, and work between the epochs.

    python benchmarks/scale.py          # less than a minute on one core, prints Markdown tables
    python benchmarks/scale.py --bandwidths 3 25 --core-rate 250

No GPU is needed. Sizes are counted on the real models with tensors that have no contents, or follow
from formulas that ``tests/distributed/test_scale_over_processes.py`` compares with the collectives
of real steps over several processes. Times combine them with the rates at the top of
``benchmarks/scale_subjects.py``: some were measured on one NVIDIA H100, the others are assumptions.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# The libraries print messages when they are imported.
with contextlib.redirect_stdout(sys.stderr):
    from benchmarks import scale_tables as tables
    from benchmarks.scale_subjects import CONFIGS, CORE_RATE, GB, Subject, count

BANDWIDTHS = (50.0, 400.0)
"""GB/s that each GPU sends: one network card of 400 Gbit/s, and NVLink."""


def parts(
    subjects: Sequence[Subject],
    bandwidths: Sequence[float] = BANDWIDTHS,
    core_rate: float = CORE_RATE,
) -> Iterator[str]:
    """Yield the tables and the notes.

    Args:
        subjects: The networks.
        bandwidths: GB/s that each GPU sends.
        core_rate: Images/s that one core loads.
    """
    yield tables.loaders(subjects, core_rate)
    yield tables.communication(subjects, [GB * value for value in bandwidths])
    yield tables.memory(subjects)
    yield tables.between_epochs(subjects)
    yield tables.notes(subjects)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--bandwidths", nargs="+", type=float, default=BANDWIDTHS, help="GB/s that each GPU sends"
    )
    parser.add_argument(
        "--core-rate", type=float, default=CORE_RATE, help="images/s that one core loads"
    )
    args = parser.parse_args()
    subjects = [count(name) for name in CONFIGS]
    print(*parts(subjects, args.bandwidths, args.core_rate), sep="\n\n")


if __name__ == "__main__":
    main()
