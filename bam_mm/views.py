"""The number, the sizes and the order of the views of an image, defined in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bam_mm.errors import InputError


@dataclass(frozen=True)
class ViewLayout:
    """The views of one image, global views first, then local views.

    The pipeline produces the views in this order, and the preprocessor checks them. The model runs
    the backbone once for each group of consecutive views of the same size. The loss takes
    *view-major* rows: all images of view 0, then all images of view 1, and so on.

    Args:
        num_global: Number of global views, at least 1. Their teacher features are the keys.
        num_local: Number of local views. They are sources, and targets only if the head asks for it
            (``target_views="all"``).
        global_size: Side of a global crop in pixels.
        local_size: Side of a local crop in pixels; ignored if ``num_local`` is 0.

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
                "compares views with each other, so set views.num_global to at least 1, and "
                "views.num_global + views.num_local to at least 2"
            )
        if self.global_size < 1 or (self.num_local and self.local_size < 1):
            raise InputError(
                f"view layout with crop sizes {self.global_size} and {self.local_size} px: set "
                "views.global_size and views.local_size to positive numbers"
            )

    @classmethod
    def of(cls, layout: ViewLayout | Mapping) -> ViewLayout:
        """Return ``layout`` itself, or build a layout from the dict of a config.

        Args:
            layout: A layout, or a mapping with the fields of a layout.

        Returns:
            The layout.

        Raises:
            InputError: If the mapping has an unknown key, or its layout is impossible.
        """
        if isinstance(layout, ViewLayout):
            return layout
        known = set(cls.__dataclass_fields__)
        if unknown := sorted(set(layout) - known):
            raise InputError(
                f"view layout has no field {unknown}; remove it from views, or choose from "
                f"{sorted(known)}"
            )
        return cls(**dict(layout))

    @property
    def num_views(self) -> int:
        """Total number of views."""
        return self.num_global + self.num_local

    @property
    def sizes(self) -> tuple[int, ...]:
        """Side in pixels of each view, in order."""
        return (self.global_size,) * self.num_global + (self.local_size,) * self.num_local

    @property
    def resolutions(self) -> tuple[slice, ...]:
        """Groups of consecutive views of the same size, each one forward pass of the backbone."""
        if self.num_local == 0 or self.local_size == self.global_size:
            return (slice(0, self.num_views),)
        return (slice(0, self.num_global), slice(self.num_global, self.num_views))

    def check(self, shapes: Sequence[Sequence[int]]) -> None:
        """Check the shapes of a batch against the layout.

        Args:
            shapes: Shape (B, C, H, W) of each view.

        Raises:
            InputError: If the number of views or a size differs from the layout.
        """
        found = [tuple(shape[-2:]) for shape in shapes]
        wanted = [(size, size) for size in self.sizes]
        if found != wanted:
            raise InputError(
                f"the pipeline delivers {len(found)} views of sizes {_format(found)}, but the "
                f"model wants {len(wanted)} of sizes {_format(wanted)}; pass the same `views` to "
                "the pipeline and the model (one variable in the config)"
            )


def _format(sizes: Sequence[tuple[int, ...]]) -> str:
    return "[" + ", ".join(f"{h}x{w}" for h, w in sizes) + "]"
