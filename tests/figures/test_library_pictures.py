"""The hook draws what the visualization hooks of mmdet and mmseg draw, for the same arguments."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from mmengine.visualization import Visualizer
from mmseg.structures import SegDataSample
from PIL import Image

from bam_mm import InputError
from bam_mm.data.match_annotation import MatchAnnotation
from bam_mm.figures.library_pictures import LibraryPicturesHook
from bam_mm.figures.predictions import ShowPredictionsHook
from bam_mm.launch.accepted import arguments_of


class Drawing(Visualizer):
    """Visualizer that records what it is given."""

    def __init__(self, name="drawing"):
        super().__init__(name)
        self.calls = []
        self._vis_backends = {"local": object()}

    def add_datasample(self, name, image, **options):
        self.calls.append((name, image, options))


def runner_of(folder, visualizer, transforms=()):
    dataset = SimpleNamespace(
        pipeline=SimpleNamespace(transforms=list(transforms)), metainfo={"classes": ("a", "b")}
    )
    loader = SimpleNamespace(dataset=dataset)
    return SimpleNamespace(
        visualizer=visualizer, work_dir=str(folder), timestamp="now", iter=0,
        test_dataloader=loader, val_dataloader=loader,
    )  # fmt: skip


def image_file(folder, *, orientation=None):
    """A red image 40 px wide and 20 px high, with a blue left half, as stored."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20, 2] = pixels[:, 20:, 0] = 255
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    path = folder / "image.png"
    Image.fromarray(pixels).save(path, exif=exif)
    return str(path), pixels


def detected(path, shape=(20, 40)):
    sample = DetDataSample(metainfo=dict(img_path=path, ori_shape=shape))
    sample.pred_instances = InstanceData(
        bboxes=torch.zeros(1, 4), labels=torch.zeros(1, dtype=torch.long), scores=torch.ones(1),
        masks=torch.zeros(1, *shape, dtype=torch.bool),
    )  # fmt: skip
    return sample


def segmented(path, shape=(20, 40)):
    sample = SegDataSample(metainfo=dict(img_path=path, ori_shape=shape))
    sample.pred_sem_seg = PixelData(data=torch.zeros(1, *shape, dtype=torch.long))
    return sample


def test_every_image_of_a_test_is_drawn_as_the_tool_of_mmdet_asks(tmp_path):
    path, pixels = image_file(tmp_path)
    visualizer = Drawing()
    hook = LibraryPicturesHook(draw=True, test_out_dir="shown", score_thr=0.5)
    runner = runner_of(tmp_path, visualizer)
    hook.before_run(runner)
    samples = [detected(path), detected(path)]
    hook.after_test_iter(runner, 0, None, samples)
    hook.after_test_iter(runner, 1, None, samples[:1])
    assert [options["step"] for _, _, options in visualizer.calls] == [1, 2, 3]
    for name, image, options in visualizer.calls:
        assert name == "test_img" and np.array_equal(image, pixels)  # RGB
        assert options["out_file"] == f"{tmp_path}/now/shown/image.png"
        assert options["pred_score_thr"] == 0.5 and not options["show"]
    assert visualizer._vis_backends


def test_maps_go_to_the_backends_by_the_names_of_mmseg(tmp_path):
    path, _ = image_file(tmp_path)
    visualizer = Drawing()
    hook = LibraryPicturesHook(draw=True, interval=2)
    runner = runner_of(tmp_path, visualizer)
    hook.after_test_iter(runner, 0, None, [segmented(path)])
    for batch in range(4):
        hook.after_val_iter(runner, batch, None, [segmented(path)] * 3)
    names = [(name, options["step"]) for name, _, options in visualizer.calls]
    assert names == [("test_image.png", 1), ("val_image.png", 0), ("val_image.png", 2)]
    assert not any(
        {"out_file", "pred_score_thr"} & set(options) for _, _, options in visualizer.calls
    )


def test_a_window_replaces_the_backends(tmp_path):
    path, _ = image_file(tmp_path)
    visualizer = Drawing()
    hook = LibraryPicturesHook(draw=True, show=True, wait_time=3)
    runner = runner_of(tmp_path, visualizer)
    hook.before_run(runner)
    hook.after_test_iter(runner, 0, None, [detected(path)])
    [(name, _, options)] = visualizer.calls
    assert name == "image.png" and options["show"] and options["wait_time"] == 3
    assert visualizer._vis_backends == {}


@pytest.mark.parametrize("pixels", ["stored", "upright"])
def test_a_photograph_is_drawn_with_the_pixels_that_were_evaluated(pixels, tmp_path):
    path, stored = image_file(tmp_path, orientation=6)  # Upright after a quarter turn.
    visualizer = Drawing()
    runner = runner_of(tmp_path, visualizer, [MatchAnnotation(orientation=pixels)])
    expected = stored if pixels == "stored" else np.rot90(stored, -1)
    sample = segmented(path, expected.shape[:2])
    LibraryPicturesHook(draw=True).after_test_iter(runner, 0, None, [sample])
    [(_, image, _)] = visualizer.calls
    assert np.array_equal(image, expected)


def test_nothing_is_drawn_unless_asked_for(tmp_path):
    visualizer = Drawing()
    hook = LibraryPicturesHook()
    hook.before_run(runner_of(tmp_path, Visualizer()))
    hook.after_test_iter(runner_of(tmp_path, visualizer), 0, None, [detected("missing.png")])
    hook.after_val_iter(runner_of(tmp_path, visualizer), 0, None, [detected("missing.png")])
    assert not visualizer.calls


def test_a_visualizer_that_draws_nothing_stops(tmp_path):
    # mmengine's own class accepts every sample and ignores it.
    with pytest.raises(InputError, match="Visualizer draws no predictions; set visualizer"):
        LibraryPicturesHook(draw=True).before_run(runner_of(tmp_path, Visualizer()))


def test_show_predictions_accepts_the_arguments_of_both_libraries():
    from mmdet.engine.hooks import DetVisualizationHook
    from mmseg.engine.hooks import SegVisualizationHook

    accepted = arguments_of(ShowPredictionsHook)
    for theirs in (DetVisualizationHook, SegVisualizationHook):
        assert arguments_of(theirs) <= accepted
    hook = ShowPredictionsHook(num=2, draw=True, test_out_dir="shown", wait_time=1.0)
    assert hook.draw and hook.test_out_dir == "shown" and hook.num == 2
