"""DAVIS-2017, and one's own videos in folders of the same shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from torch.utils.data import Dataset

from bam_mm.data.video import FaultyVideo, Video, open_video
from bam_mm.errors import InputError, listing
from bam_mm.registry import DATASETS

FRAMES, ANNOTATIONS = "JPEGImages", "Annotations"


@DATASETS.register_module()
class DAVISDataset(Dataset):
    """Videos with annotated objects; one item is one video, its frames unread.

    The tree is that of DAVIS-2017::

        data_root/JPEGImages/480p/<sequence>/00000.jpg ...
        data_root/Annotations/480p/<sequence>/00000.png ...     indexed, 0 background
        data_root/ImageSets/2017/val.txt                        one sequence a line

    A video with a fault is logged with its remedy and left out; ``metainfo['left_out']`` names it.

    Args:
        data_root: The folder.
        split: Name of the list in ``ImageSets/2017``. A tree without ``ImageSets``, or None, takes
            every sequence.
        resolution: Subfolder of frames and annotations: ``480p`` or ``Full-Resolution``.
        sequences: Only these names of the list.
        annotated: ``all``: every frame has an annotation to score with; ``first``: only the first
            one is needed (DAVIS's test sets), and nothing is scored.

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
        """``left_out``: why, by the name of each video that is not used."""
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
                    f"list {source} does not exist: choose another split, or take every sequence "
                    "with test_dataloader.dataset.split=None"
                )
            names = [line.strip() for line in source.read_text().splitlines() if line.strip()]
        if not names:
            raise InputError(f"{source} names no sequence: put one folder of frames a video there")
        if sequences is None:
            return names
        unknown = sorted(set(sequences) - set(names))
        if unknown:
            raise InputError(
                f"sequences {', '.join(unknown)} are not in {source} (it has: "
                f"{listing(names, 8)})"
            )
        return [name for name in names if name in set(sequences)]


def _folder(root: Path, kind: str, resolution: str) -> Path:
    if not root.is_dir():
        raise InputError(
            f"data folder {root} does not exist: make the toy world with `python "
            "tools/make_toy_world.py FOLDER`, unpack DAVIS-2017 there, or name another with "
            "--cfg-options data_root=FOLDER"
        )
    folder = root / kind / resolution
    if not folder.is_dir():
        parent = root / kind
        there = sorted(e.name for e in (parent if parent.is_dir() else root).iterdir())
        raise InputError(
            f"{folder} does not exist ({parent if parent.is_dir() else root} has: "
            f"{listing(there, 8) or 'nothing'}): arrange the videos as "
            f"{root}/{kind}/{resolution}/<sequence>/, or choose another resolution with "
            "test_dataloader.dataset.resolution=NAME"
        )
    return folder
