"""Floating-point operations of a training step, and the peak speed of a device."""

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
"""Peak of dense bfloat16 from NVIDIA's data sheets; the first name that matches is used."""


def count_flops(step: Callable[[], object]) -> int:
    """Count the operations of matrix products and convolutions in a step.

    Run the step with :func:`materialised_attention`. Then the products of the attention are counted
    on every device, and parts that a fused attention computes twice are counted once.

    Args:
        step: Function that runs a whole training step.

    Returns:
        Number of operations; a multiplication and an addition count as two.
    """
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def peak_flops() -> tuple[str, float] | None:
    """Return name and operations per second of this GPU by its data sheet, or None if unknown."""
    if not torch.cuda.is_available():
        return None
    device = torch.cuda.get_device_name()
    for name, tera in PEAK_TFLOPS.items():
        if name in device:
            return device, 1e12 * tera
    return None


def measured_flops(device: str, dtype: torch.dtype, runs: int = 5) -> float:
    """Return the operations per second of a large matrix product, the best of several runs."""
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
    """Wait until the device has finished, which only a GPU needs."""
    if device == "cuda":
        torch.cuda.synchronize()
