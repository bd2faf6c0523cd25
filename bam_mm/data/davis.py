"""DAVIS-2017, and your own videos in the same folder layout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from torch.utils.data import Dataset

from bam_mm.data.file_names import is_hidden
from bam_mm.data.name_lists import read_names
from bam_mm.data.video import FaultyVideo, Video, open_video
from bam_mm.data.video_files import annotation_files, frame_files
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
    What differs from DAVIS-2017, but can be read in one way only (names of frames, ids stored as
    grey levels or colours, a single object of 255, annotations of every fifth frame), is logged.

    Args:
        data_root: Folder of the data set.
        split: Name of the list in ``ImageSets/2017``, in ``ImageSets``, or in ``ImageSets/480p``
            (DAVIS-2016). Without a list (None, or no folder ``ImageSets``), the data set has every
            sequence.
        resolution: Subfolder of frames and annotations, ``480p`` or ``Full-Resolution``.
        sequences: Names of the sequences to keep; all by default.
        annotated: ``all`` if there are annotations for scoring; ``first`` if only the first frame
            needs one (as in DAVIS's test sets), and nothing is scored. Nothing is scored either if
            no video has a second annotation.

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
        names = self._names(split, sequences)
        if annotated == "all" and not any(map(self._has_truth, names)):
            annotated = "first"
            _log(f"{self.annotations}: no video has a second annotation, so nothing is scored")
        for name in names:
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
                _log(f"left out: {error}")
            else:
                self.videos.append(video)
        self._log_notes()
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

    def _log_notes(self) -> None:
        videos: dict[str, list[str]] = defaultdict(list)
        for video in self.videos:
            for note in video.notes:
                videos[note].append(video.name)
        for note, names in videos.items():
            _log(f"{self.frames.parent.parent}: {note}, in {listing(names, 3)}", level=20)

    def _has_truth(self, name: str) -> bool:
        """Return whether a video has an annotation of any frame but the first."""
        if not (self.frames / name).is_dir():
            return False
        frames = frame_files(self.frames / name)[0]
        return any(annotation_files(self.annotations / name, frames)[0][1:])

    def _names(self, split: str | None, sequences: Sequence[str] | None) -> list[str]:
        lists = self.root / "ImageSets"
        if split is None or not lists.is_dir():
            source = self.frames
            entries = [entry for entry in self.frames.iterdir() if not is_hidden(entry)]
            names = sorted(entry.name for entry in entries if entry.is_dir())
        else:
            source = _find_list(lists, split)
            names = _read_list(source)
        if not names:
            raise InputError(f"{source} names no sequence: add a folder of frames for each video")
        if len(set(names)) < len(names):
            _log(f"{source} names some sequences twice ({len(names) - len(set(names))}); read once")
            names = list(dict.fromkeys(names))
        if sequences is None:
            return names
        unknown = sorted(set(sequences) - set(names))
        if unknown:
            raise InputError(
                f"sequences {', '.join(unknown)} are not in {source}: choose from "
                f"{listing(names, 8)}"
            )
        return [name for name in names if name in set(sequences)]


def _find_list(lists: Path, split: str) -> Path:
    name = f"{split}.txt"
    candidates = [lists / "2017" / name, lists / name, lists / "480p" / name]
    for path in candidates:
        if path.is_file():
            return path
    raise InputError(
        f"list {candidates[0]} does not exist: choose another split, or use every sequence with "
        "test_dataloader.dataset.split=None"
    )


def _read_list(path: Path) -> list[str]:
    """Read the names of a list, one on each line.

    The lists of DAVIS-2016 name the files of every frame (``/JPEGImages/480p/bear/00000.jpg ...``)
    instead, of which the folders are taken.
    """
    lines = read_names(path)
    frames = [line.split()[0] for line in lines if f"/{FRAMES}/" in f"/{line}"]
    if len(frames) == len(lines):
        return list(dict.fromkeys(Path(frame).parent.name for frame in frames))
    wrong = [line for line in lines if Path(line).name != line]
    if wrong:
        raise InputError(
            f"{path} has the line {wrong[0]!r}, which is not the name of a sequence: write one "
            "name on each line"
        )
    return lines


def _log(text: str, level: int = 30) -> None:
    if is_main_process():
        print_log(text, logger="current", level=level)


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
            f"{root}/{kind}/{resolution}/<sequence>/, or choose another folder with "
            "test_dataloader.dataset.resolution=NAME (a dot if there is none in between)"
        )
    return folder
