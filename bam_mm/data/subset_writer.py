"""Making lists of labelled images where SimCLR's are not at hand."""

from __future__ import annotations

from pathlib import Path

from bam_mm.data.image_folder import ImageFolder
from bam_mm.data.splits import balanced_choice


def subset_name(percent: float, seed: int) -> str:
    """Name of a list made here; it says what it is: ``balanced_1percent_seed0.txt``."""
    return f"balanced_{percent:g}percent_seed{seed}.txt"


def write_subset(
    data_root: str | Path,
    *,
    percent: float,
    seed: int = 0,
    split: str = "train",
    out: str | Path | None = None,
) -> tuple[Path, int]:
    """Write a seeded list with the same number of images of every class.

    Lines have SimCLR's format (``n01440764_10026.JPEG``) where every image's name is its class,
    ``_`` and a rest, as in ImageNet; else ``<class>/<image>``.

    Args:
        data_root: Folder of ``<split>/<class>/<image>``.
        percent: Of the images.
        seed: Of the choice.
        split: Of which split.
        out: Folder to write to, ``data_root/subsets`` by default.

    Returns:
        The file and the number of images in it.

    Raises:
        InputError: If the data is not there, or too small for the percentage.
    """
    dataset = ImageFolder(str(data_root), split=split, with_label=True)
    chosen = balanced_choice(dataset.get_gt_labels(), percent, seed=seed)
    root = Path(dataset.img_prefix)
    every = [Path(dataset.get_data_info(int(i))["img_path"]) for i in chosen]
    paths = [path.relative_to(root) for path in every]
    plain = all(len(p.parts) == 2 and p.name.startswith(f"{p.parts[0]}_") for p in paths)
    lines = [p.name if plain else p.as_posix() for p in paths]
    folder = Path(out) if out is not None else Path(data_root).expanduser() / "subsets"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / subset_name(percent, seed)
    path.write_text("\n".join(lines) + "\n")
    return path, len(lines)
