"""DAVIS-2017, and your own videos in the same folder layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from torch.utils.data import Dataset

from bam_mm.data.name_lists import read_names
from bam_mm.data.video import FaultyVideo, Video, open_video
from bam_mm.errors import InputError, listing
from bam_mm.registry import DATASETS

FRAMES, ANNOTATIONS = "JPEGImages", "Annotations"


@DATASETS.register_module()
class DAVISDataset(Dataset):
    """Videos with annotated objects. An item is one video, whose frames are not read yet.

    The folder layout is that of DAVIS-2017::

        data_root/JPEGImages/480p/<sequence>/00000.jpg ...
        data_root/Annotations/480p/<sequence>/00000.png ...     indexed, 0 for the background
        data_root/ImageSets/2017/val.txt                        one sequence per line

    A video with a fault is logged with its remedy and left out; ``metainfo['left_out']`` names it.

    Args:
        data_root: Folder of the data set.
        split: Name of the list in ``ImageSets/2017``. Without this list (None, or no folder
            ``ImageSets``), the data set has every sequence.
        resolution: Subfolder of frames and annotations, ``480p`` or ``Full-Resolution``.
        sequences: Names of the sequences to keep; all by default.
        annotated: ``all`` if every frame has an annotation for scoring; ``first`` if only the first
            frame needs one (as in DAVIS's test sets), and nothing is scored.

    Raises:
        InputError: If a folder or list is missing, a name is unknown, or no video is left.
    """

    def __init__(
        self,
        data_root: str,
        split: str | None = "val",
        resolution: str = "480p",
        sequences: Sequence[str] | None = None,
        annotated: str = "all",
    ) -> None:
        if annotated not in ("all", "first"):
            raise InputError(f"DAVISDataset annotated={annotated!r}: choose 'all' or 'first'")
        self.root = Path(data_root).expanduser()
        self.frames = _folder(self.root, FRAMES, resolution)
        self.annotations = _folder(self.root, ANNOTATIONS, resolution)
        self.videos: list[Video] = []
        self.left_out: dict[str, str] = {}
        for name in self._names(split, sequences):
            try:
                video = open_video(
                    self.frames / name,
                    self.annotations / name,
                    name=name,
                    index=len(self.videos),
                    scored=annotated == "all",
                )
            except FaultyVideo as error:
                self.left_out[name] = str(error)
                if is_main_process():
                    print_log(f"left out: {error}", logger="current", level=30)
            else:
                self.videos.append(video)
        if not self.videos:
            faults = list(self.left_out.values())
            raise InputError(
                f"{self.frames}: none of {len(faults)} videos can be used; the first: {faults[0]}"
            )

    @property
    def metainfo(self) -> dict:
        """Return ``left_out``, which maps the name of each unused video to the reason."""
        return {"left_out": dict(self.left_out)}

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> dict[str, Video]:
        return {"video": self.videos[index]}

    def _names(self, split: str | None, sequences: Sequence[str] | None) -> list[str]:
        lists = self.root / "ImageSets"
        if split is None or not lists.is_dir():
            source = self.frames
            names = sorted(entry.name for entry in self.frames.iterdir() if entry.is_dir())
        else:
            source = lists / "2017" / f"{split}.txt"
            if not source.is_file():
                raise InputError(
                    f"list {source} does not exist: choose another split, or use every sequence "
                    "with test_dataloader.dataset.split=None"
                )
            names = read_names(source)
        if not names:
            raise InputError(f"{source} names no sequence: add a folder of frames for each video")
        if sequences is None:
            return names
        unknown = sorted(set(sequences) - set(names))
        if unknown:
            raise InputError(
                f"sequences {', '.join(unknown)} are not in {source}: choose from "
                f"{listing(names, 8)}"
            )
        return [name for name in names if name in set(sequences)]


def _folder(root: Path, kind: str, resolution: str) -> Path:
    if not root.is_dir():
        raise InputError(
            f"data folder {root} does not exist: create the toy world with `"
            "bam-mm toy-world FOLDER`, unpack DAVIS-2017 there, or set another folder with "
            "--cfg-options data_root=FOLDER"
        )
    folder = root / kind / resolution
    if not folder.is_dir():
        parent = root / kind
        found = sorted(e.name for e in (parent if parent.is_dir() else root).iterdir())
        raise InputError(
            f"{folder} does not exist ({parent if parent.is_dir() else root} has: "
            f"{listing(found, 8) or 'nothing'}): arrange the videos as "
            f"{root}/{kind}/{resolution}/<sequence>/, or choose another resolution with "
            "test_dataloader.dataset.resolution=NAME"
        )
    return folder
