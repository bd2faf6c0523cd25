"""What a backbone costs to use: its size, its work for an image, its speed and its memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from bam_mm.models.evaluation_wrapper import evaluated


class Complexity(NamedTuple):
    """Size of a network and its work for one image.

    Attributes:
        parameters: Number of parameters, frozen ones included.
        macs: Multiply-accumulates of a forward pass.
    """

    parameters: int
    macs: int


def complexity(module: nn.Module, size: tuple[int, int]) -> Complexity:
    """Count the parameters of a network, and its multiply-accumulates for one image.

    Counted are convolutions and matrix products, also those of attention (queries with keys,
    weights with values). Norms, activations, sums, pooling and resizing are not. The forward pass
    runs on tensors without values, so that it takes neither memory nor the network's device.

    Args:
        module: Network that takes (1, 3, H, W) images, in any mode. It runs in evaluation mode, in
            which BatchNorm takes a map of 1 x 1 as well; its mode is restored. Every process must
            count a sharded network.
        size: Size (H, W) of the image in pixels.

    Returns:
        The numbers. FLOPs are usually stated as twice the multiply-accumulates.

    Raises:
        Exception: Whatever the network raises on tensors without values, for example because its
            path depends on them.
    """
    image = torch.empty(1, 3, *size, device="meta")
    with evaluated([module]):
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        empty = {name: tensor.detach().to("meta") for name, tensor in tensors.items()}
        # Without values, attention has no fused operator, so that its products are counted.
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            functional_call(module, empty, (image,))
    return Complexity(parameter_count(module), counter.get_total_flops() // 2)


def parameter_count(module: nn.Module) -> int:
    """Return the number of parameters of a network, frozen ones included."""
    return sum(parameter.numel() for parameter in module.parameters())


class ExtractionMeter:
    """Speed and memory of a backbone while it extracts features, over one or several data sets.

    Attributes:
        images: Number of images whose forward pass was timed. Left out are the first batch of a
            data set, which also prepares the device, and a smaller last one, unless there are no
            others.
        seconds: Time of these forward passes in seconds. On a GPU it is the GPU's own time.
        read: Number of all images.
        elapsed: Time in seconds for all of them, with reading and decoding.
        peak_mb: Peak resident memory of the process until the end of the extraction, in MiB; None
            if the system has no /proc, or if nothing was extracted.
        peak_gpu_mb: Peak GPU memory during the extraction, in MiB; None without a GPU.
    """

    def __init__(self) -> None:
        self.images = self.read = 0
        self.seconds = self.elapsed = 0.0
        self.peak_mb: float | None = None
        self.peak_gpu_mb: float | None = None
        self._batches: list[tuple[int, Any]] = []

    @contextmanager
    def extracting(self, device: torch.device) -> Iterator[None]:
        """Measure the extraction of one data set.

        Args:
            device: Device of the backbone.
        """
        self._batches = []
        gpu = device.type == "cuda"
        if gpu:
            torch.cuda.reset_peak_memory_stats(device)
        start = time.perf_counter()
        yield
        if gpu:
            torch.cuda.synchronize(device)
            peak = torch.cuda.max_memory_allocated(device) / 2**20
            self.peak_gpu_mb = max(peak, self.peak_gpu_mb or 0.0)
        self.elapsed += time.perf_counter() - start
        self.peak_mb = peak_mb()
        self.read += sum(images for images, _ in self._batches)
        whole = [each for each in self._batches[1:] if each[0] == self._batches[0][0]]
        for images, took in whole or self._batches:
            self.images += images
            self.seconds += took[0].elapsed_time(took[1]) / 1000 if gpu else took

    @contextmanager
    def batch(self, images: int, device: torch.device) -> Iterator[None]:
        """Time the forward pass of a batch.

        Args:
            images: Number of its images.
            device: Device of the backbone.
        """
        if device.type == "cuda":
            # Events do not make the process wait for the device.
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            events[0].record()
            yield
            events[1].record()
            self._batches.append((images, events))
        else:
            start = time.perf_counter()
            yield
            self._batches.append((images, time.perf_counter() - start))


def peak_mb() -> float | None:
    """Return the peak resident memory of this process in MiB; None if the system has no /proc."""
    # Not getrusage: it counts the memory that the parent held at the fork, before exec.
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    kilobytes = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return float(kilobytes[0]) / 2**10 if kilobytes else None
