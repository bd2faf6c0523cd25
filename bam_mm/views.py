"""How many views of an image there are, their sizes and their order: defined once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bam_mm.errors import InputError


@dataclass(frozen=True)
class ViewLayout:
    """The views of one image: global views first, then local ones.

    The pipeline makes them in this order, the preprocessor checks them against it, the model runs
    the backbone once for each run of equal sizes, and the loss takes rows that are *view-major*:
    all images of view 0, then all of view 1, and so on.

    Args:
        num_global: Number of global views, at least 1. Their teacher features are the keys.
        num_local: Number of local views (sources only).
        global_size: Side of a global crop in pixels.
        local_size: Side of a local crop in pixels; only read where ``num_local`` > 0.

    Raises:
        InputError: If there are fewer than two views or no global view, or a size is not positive.
    """

    num_global: int = 2
    num_local: int = 0
    global_size: int = 224
    local_size: int = 96

    def __post_init__(self) -> None:
        if self.num_global < 1 or self.num_local < 0 or self.num_views < 2:
            raise InputError(
                f"view layout with {self.num_global} global and {self.num_local} local views: BAM "
                "matches views with each other and needs at least one global view and two in all; "
                "set views.num_global (and views.num_local) accordingly"
            )
        if self.global_size < 1 or (self.num_local and self.local_size < 1):
            raise InputError(
                f"view layout with crop sizes {self.global_size} and {self.local_size} px: sizes "
                "must be positive; set views.global_size and views.local_size"
            )

    @classmethod
    def of(cls, layout: ViewLayout | Mapping) -> ViewLayout:
        """Return ``layout`` itself, or build one from a config's dict.

        Raises:
            InputError: If the dict has a key that no layout has.
        """
        if isinstance(layout, cls):
            return layout
        known = set(cls.__dataclass_fields__)
        if unknown := sorted(set(layout) - known):
            raise InputError(f"view layout has no field {unknown}; its fields are {sorted(known)}")
        return cls(**dict(layout))

    @property
    def num_views(self) -> int:
        """Number of all views."""
        return self.num_global + self.num_local

    @property
    def sizes(self) -> tuple[int, ...]:
        """Side in pixels of each view, in order."""
        return (self.global_size,) * self.num_global + (self.local_size,) * self.num_local

    @property
    def resolutions(self) -> tuple[slice, ...]:
        """Runs of views with the same size: one forward pass of the backbone each."""
        if self.num_local == 0 or self.local_size == self.global_size:
            return (slice(0, self.num_views),)
        return (slice(0, self.num_global), slice(self.num_global, self.num_views))

    def check(self, shapes: Sequence[Sequence[int]]) -> None:
        """Compare a batch's shapes with the layout.

        Args:
            shapes: One shape (B, C, H, W) a view.

        Raises:
            InputError: If their number or a size differs from the layout.
        """
        found = [tuple(shape[-2:]) for shape in shapes]
        wanted = [(size, size) for size in self.sizes]
        if found != wanted:
            raise InputError(
                f"the pipeline delivers {len(found)} views of sizes {_spell(found)}, but the view "
                f"layout of the model wants {len(wanted)} of sizes {_spell(wanted)}; give the "
                "pipeline and the model the same `views` (one variable in the config)"
            )


def _spell(sizes: Sequence[tuple[int, int]]) -> str:
    return "[" + ", ".join(f"{h}x{w}" for h, w in sizes) + "]"
