"""Image folders: your own images, ImageNet, CIFAR as files, or the toy world."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmpretrain.datasets import CustomDataset

from bam_mm.data.class_matching import READINGS
from bam_mm.data.class_names import choose_folders
from bam_mm.data.seeding import EpochClock, seeded_sample
from bam_mm.data.subsets import choose_listed, find_list
from bam_mm.errors import InputError, listing
from bam_mm.registry import DATASETS

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".webp")


@DATASETS.register_module()
class ImageFolder(CustomDataset):
    """Images in ``data_root/<split>/<class>/``, or in any folder without labels.

    Args:
        data_root: Folder of the data set.
        split: Subfolder of the split, such as ``train`` or ``val``.
        with_label: Whether subfolders are classes. ``auto``: they are if the split's folder has
            subfolders and no loose images.
        fallback: Whether to use ``data_root`` itself if it has neither ``train`` nor ``val``, for
            pretraining on a plain folder of images.
        subset: List of the images to keep, as a path or relative to ``data_root``, with one image
            per line. A line is ``<class>/<image>``, or the image's name alone if it is unique, as
            in SimCLR's lists of ImageNet (``n01440764_10026.JPEG``).
        extensions: Endings of the image files.
        classes: Class folders to use, in the order of their labels, or one name for each class
            folder in sorted order, or a file with one name per line. By default, labels follow the
            sorted names of all class folders.
        **kwargs: Arguments of mmpretrain's ``CustomDataset``.

    Raises:
        InputError: If a folder or the list is missing, a class is empty, no image is found, or
            ``classes`` does not fit the folders.
    """

    def __init__(
        self,
        data_root: str,
        split: str = "train",
        with_label: bool | str = "auto",
        fallback: bool = False,
        subset: str | None = None,
        extensions: tuple[str, ...] = EXTENSIONS,
        classes: str | Sequence[str] | None = None,
        **kwargs,
    ) -> None:
        self.clock = EpochClock()
        self.subset = subset and find_list(data_root, subset)
        folder = find_split(data_root, split, fallback=fallback)
        if with_label == "auto":
            with_label = has_classes(folder, extensions)
        super().__init__(
            data_root=str(folder),
            with_label=with_label,
            extensions=extensions,
            classes=_read_names(classes),
            **kwargs,
        )

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Set seed and epoch, which determine a sample's random draws with its index and visit."""
        self.clock.set(seed, epoch)

    def __getitem__(self, index: int) -> dict:
        """Run the pipeline on an image, with random draws seeded for this visit of the image.

        Args:
            index: Index of the image, or a :class:`~bam_mm.data.seeding.Visit`.
        """
        with seeded_sample(self.clock, index):
            return super().__getitem__(int(index))

    def _find_samples(self) -> list:
        folder = Path(self.img_prefix)
        if self.with_label:
            classes = sorted(entry for entry in folder.iterdir() if entry.is_dir())
            if not classes:
                raise InputError(
                    f"{folder} has no class folders: put the images of each class into a "
                    "subfolder, or load the folder without labels (with_label=False)"
                )
            names = self._metainfo.pop("classes", None)
            numbers = names and choose_folders([c.name for c in classes], names, str(folder))
            classes = [c for c in classes if not numbers or c.name in numbers]
            empty = [c.name for c in classes if not any(map(self.is_valid_file, _files(c)))]
            if empty:
                raise InputError(
                    f"{folder}: class folder{'s' * (len(empty) > 1)} without an image: "
                    f"{listing(empty, 10)}; fill or delete "
                    f"{'them' if len(empty) > 1 else 'it'} (known endings: "
                    f"{' '.join(sorted(self.extensions))})"
                )
        elif not any(map(self.is_valid_file, _files(folder))):
            raise InputError(
                f"{folder} has no images (known endings: {' '.join(sorted(self.extensions))}): set "
                "the folder of your images with --cfg-options data_root=FOLDER"
            )
        samples = super()._find_samples()
        if self.with_label and numbers:
            parts = ((path, Path(path).parts[0]) for path, _ in samples)
            samples = [(path, numbers[name]) for path, name in parts if name in numbers]
            self.folder_to_idx, self._metainfo["classes"] = numbers, tuple(names)
        if self.subset:
            samples = choose_listed(samples, self.subset, folder)
        return samples


def find_split(data_root: str, split: str, *, fallback: bool = False) -> Path:
    """Find the folder of a split.

    Args:
        data_root: Folder of the data set.
        split: Name of the split.
        fallback: Whether to return ``data_root`` itself if it has neither ``train`` nor ``val``.

    Raises:
        InputError: If ``data_root`` or its split is missing.
    """
    root = Path(data_root).expanduser()
    if not root.is_dir():
        raise InputError(
            f"data folder {root} does not exist: create the toy world with `"
            "bam-mm toy-world FOLDER`, or set the folder of your images with --cfg-options "
            "data_root=FOLDER"
        )
    folder = root / split
    if folder.is_dir():
        return folder
    if fallback and not (root / "train").is_dir() and not (root / "val").is_dir():
        return root
    raise InputError(
        f"data folder {root} has no subfolder {split!r} (it has: "
        f"{listing(sorted(e.name for e in root.iterdir()), 8) or 'nothing'}): arrange it as "
        f"{root}/{split}/<class>/<image>, or set dataset.split=. if it holds the class folders itself"
    )


def has_classes(folder: Path, extensions: tuple[str, ...] = EXTENSIONS) -> bool:
    """Return whether a folder has subfolders and no loose images."""
    entries = list(folder.iterdir())
    loose = any(e.is_file() and e.name.lower().endswith(extensions) for e in entries)
    return not loose and any(e.is_dir() for e in entries)


def _read_names(classes: str | Sequence[str] | None) -> Sequence[str] | None:
    if not isinstance(classes, str):
        return classes
    if classes in READINGS:
        raise InputError(f"dataset.classes={classes}: set --cfg-options test_cfg.classes={classes}")
    path = Path(classes).expanduser()
    if not path.is_file():
        raise InputError(
            f"dataset.classes={classes}: there is no such file; set the names of class folders, as "
            'in dataset.classes="[cat,dog]", or a file with one name per line'
        )
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def _files(folder: Path):
    return (str(path) for path in folder.rglob("*") if path.is_file())
