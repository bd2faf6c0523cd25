"""Comparison of a running training with reference curves, which only warns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bam_mm.errors import InputError
from bam_mm.hooks.reference_curves import read_reference

WATCHED = ("feature_std", "attention_entropy", "target_entropy")
"""Quantities that CollapseMonitorHook measures."""


class ReferenceWatch:
    """Warn once for each quantity that leaves the band of reference curves.

    Args:
        name: Name or file of the reference curves.
        margin: Width that is added on both sides of the band, as a fraction of its mean.
        patience: Number of checks in a row outside of the widened band before a warning.

    Raises:
        InputError: If the curves cannot be read or hold none of the quantities, or the margin is
            negative.
    """

    def __init__(self, name: str, margin: float, patience: int) -> None:
        if not margin >= 0:
            raise InputError(
                f"CollapseMonitorHook margin={margin}: must be at least 0; 0.25 adds 25 % on both "
                "sides of the reference's band"
            )
        self.name, self.margin, self.patience = name, margin, patience
        self.reference = read_reference(name)
        self.series = {k: b for k, b in self.reference.series.items() if k in WATCHED}
        if not self.series:
            raise InputError(
                f"CollapseMonitorHook against={name!r}: these curves hold none of "
                f"{', '.join(WATCHED)}; choose others, or set against=None"
            )
        self.outside: dict[str, int] = {}
        self.warned: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the number of checks in a row outside of the band, and what was warned about."""
        return {"name": self.name, "outside": dict(self.outside), "warned": list(self.warned)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of the same reference; that of another one is dropped."""
        if state.get("name") == self.name:
            self.outside, self.warned = dict(state["outside"]), list(state["warned"])

    def leave_out_entropies(self, batch: int) -> str | None:
        """Leave out the entropies if they do not compare.

        Args:
            batch: Number of images of an iteration of this run, over all processes.

        Returns:
            A line for the log; None if the batch is that of the reference, or nothing is left out.
        """
        entropies = [name for name in self.series if name.endswith("_entropy")]
        if batch == self.reference.batch or not entropies:
            return None
        self.series = {k: b for k, b in self.series.items() if k not in entropies}
        return (
            f"reference curves {self.name}: {', '.join(entropies)} not compared, because entropies "
            f"depend on the batch ({batch} images, reference {self.reference.batch})"
        )

    def check(self, values: Mapping[str, float], epoch: float) -> Iterator[str]:
        """Compare the values of a check.

        Args:
            values: Values by quantity.
            epoch: Epoch of the check; 0.5 is half of the first epoch.

        Yields:
            A warning for each quantity that has been outside for ``patience`` checks in a row, the
            first time.
        """
        for name, band in self.series.items():
            found = band.at(epoch)
            if found is None or name not in values:
                continue
            mean, low, high = found
            extra = self.margin * abs(mean)
            inside = low - extra <= values[name] <= high + extra
            self.outside[name] = 0 if inside else self.outside.get(name, 0) + 1
            if self.outside[name] >= self.patience and name not in self.warned:
                self.warned.append(name)
                yield (
                    f"{name} is {values[name]:.4g} at epoch {epoch:.2f}, outside of "
                    f"{low - extra:.4g} to {high + extra:.4g} in {self.outside[name]} checks in a "
                    f"row: reference curves {self.name} have {low:.4g} to {high:.4g} there, "
                    f"widened by {100 * self.margin:.3g} %. Compare the settings with the "
                    f"reference's ({self.reference.config}), and draw both with bam-mm plot "
                    f"WORK_DIR --against {self.name}; the run goes on"
                )
