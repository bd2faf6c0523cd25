"""Floating-point operations of a training step, and what a processor could do."""

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from bam_mm.suite.pretraining_cost import clock

PEAK_TFLOPS = {
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "A10G": 70.0,
    "A10": 125.0,
    "L4": 121.0,
}
"""Dense bfloat16 with tensor cores, from NVIDIA's data sheets; the first name that fits counts."""


def count_flops(step: Callable[[], object]) -> int:
    """Count what a step multiplies and adds in matrix products and convolutions.

    Run the step with attention materialised: then its products are counted on every device, and
    what a fused attention computes twice is not counted twice.

    Args:
        step: A whole training step.

    Returns:
        Operations; a multiplication with an addition is two.
    """
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def peak_flops() -> tuple[str, float] | None:
    """Name and operations a second of this GPU by its data sheet; None where it is not known."""
    if not torch.cuda.is_available():
        return None
    device = torch.cuda.get_device_name()
    for name, tera in PEAK_TFLOPS.items():
        if name in device:
            return device, 1e12 * tera
    return None


def measured_flops(device: str, dtype: torch.dtype, runs: int = 5) -> float:
    """Operations a second in the product of two large matrices, the best of some runs."""
    side, now = 8192 if device == "cuda" else 1536, clock(device)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(runs + 1):
        synchronize(device)
        start = now()
        a @ b
        synchronize(device)
        best = min(best, now() - start)
    return 2 * side**3 / best


def synchronize(device: str) -> None:
    """Wait for a GPU; a CPU is never ahead."""
    if device == "cuda":
        torch.cuda.synchronize()
