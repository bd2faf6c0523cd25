"""Peak GPU memory of a run."""

from __future__ import annotations

from typing import Any

import torch


class PeakGPUMemory:
    """Context manager that measures the peak GPU memory of this process, in MiB.

    mmengine resets torch's counter at every log line, so that the counter holds the peak since the
    last line. Within the context, each reset first records the peak up to then. Peaks of earlier
    runs of the process do not count.
    """

    def __init__(self) -> None:
        self._before_resets = 0
        self._reset = torch.cuda.reset_peak_memory_stats

    def __enter__(self) -> PeakGPUMemory:
        self._before_resets = 0
        # Without a context on a GPU, there is nothing to reset, and resetting would create one.
        if torch.cuda.is_initialized():
            self._reset()
        self._replace(self._record_and_reset)
        return self

    def __exit__(self, *error: object) -> None:
        self._replace(self._reset)

    def mb(self) -> float | None:
        """Return the peak since the start of the context in MiB; None without a GPU."""
        if not torch.cuda.is_available():
            return None
        return max(self._before_resets, torch.cuda.max_memory_allocated()) / 2**20

    def _record_and_reset(self, device: Any = None) -> None:
        peak = torch.cuda.max_memory_allocated(device)
        self._before_resets = max(self._before_resets, peak)
        self._reset(device)

    @staticmethod
    def _replace(reset: Any) -> None:
        # The second name is that of torch's own callers.
        for module in (torch.cuda, torch.cuda.memory):
            module.reset_peak_memory_stats = reset  # type: ignore[attr-defined]
