"""Pictures that hooks draw during a training: colours, frames, intervals, and the model's state."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import EpochBasedTrainLoop
from PIL import Image
from torch.utils.data import DataLoader

from bam_mm import InputError
from bam_mm.figures.show_attention import ShowAttentionHook
from bam_mm.figures.show_views import ShowViewsHook, iterations_between, pictures_of
from bam_mm.figures.tiles import frame, grid, tile
from tests.models.test_bam import build

MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]


@pytest.mark.parametrize(
    "kind, rgb",
    [
        ("bam_mm.MultiViewPreprocessor", "to_rgb"),
        ("mmpretrain.SelfSupDataPreprocessor", "to_rgb"),
        ("mmpretrain.ClsDataPreprocessor", "to_rgb"),
        ("mmdet.DetDataPreprocessor", "bgr_to_rgb"),
        ("mmseg.SegDataPreProcessor", "bgr_to_rgb"),
    ],
)
@pytest.mark.parametrize("converts", [True, False])
def test_normalisation_is_undone_for_every_library(kind, rgb, converts):
    options = dict(layout=dict(num_global=2, num_local=0, global_size=8)) if "View" in kind else {}
    preprocessor = MODELS.build(dict(type=kind, mean=MEAN, std=STD, **{rgb: converts}, **options))
    bgr = torch.randint(0, 256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    channels = bgr.flip(1) if converts else bgr
    batch = (channels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    assert (pictures_of(preprocessor, batch) == bgr.flip(1).permute(0, 2, 3, 1).numpy()).all()


def test_tiles_and_frames():
    red = np.zeros((2, 4, 3), np.uint8)
    red[..., 0] = 200
    picture = grid([[red, red], [red]])
    assert picture.shape == (2 + 3 + 2, 4 + 3 + 4, 3)
    assert (picture[:2, :4] == red).all() and (picture[5:, :4] == red).all()
    assert (picture[2:5] == 255).all() and (picture[5:, 4:] == 255).all()
    assert tile(red, height=6).shape == (6, 12, 3) and (tile(red, height=6)[..., 0] == 200).all()
    large = np.full((20, 20, 3), 100, np.uint8)
    frame(large, (2, 3, 8, 9), (1, 2, 3), scale=2)
    drawn = np.argwhere((large == (1, 2, 3)).all(axis=2))
    assert drawn.min(axis=0).tolist() == [4, 6] and drawn.max(axis=0).tolist() == [15, 17]
    assert (large[8:12, 10:14] == 100).all()  # Inside the frame, nothing is drawn.


@pytest.mark.parametrize(
    "length, interval, expected",
    [
        ((12, 60), None, 5), ((100, 500), None, 25), ((100, 500), 2, 10), ((1, 5), None, 5),
        ((None, 160), None, 8), ((None, 160), 3, 3), ((None, 20), None, 5),
    ],
)  # fmt: skip
def test_about_twenty_pictures_in_a_training(length, interval, expected):
    epochs, iterations = length
    loop = object.__new__(EpochBasedTrainLoop) if epochs else object()
    runner = SimpleNamespace(
        train_loop=loop, max_epochs=epochs, max_iters=iterations, train_dataloader=range(5)
    )
    assert iterations_between(runner, interval) == expected


def test_impossible_settings():
    with pytest.raises(InputError, match="ShowViewsHook num=0: set a number from 1"):
        ShowViewsHook(num=0)
    with pytest.raises(InputError, match="ShowAttentionHook interval=-1: set a number from 1"):
        ShowAttentionHook(interval=-1)


def runner_of(model, drawn, iterations=0):
    return SimpleNamespace(
        model=model,
        iter=iterations,
        max_iters=10,
        train_loop=object(),
        train_dataloader=DataLoader([0, 1, 2]),
        visualizer=SimpleNamespace(
            add_image=lambda name, image, step: drawn.append((name, step, image))
        ),
        logger=SimpleNamespace(warning=lambda text: drawn.append(("warning", text))),
    )


def test_inputs_are_copied_before_the_model_changes_them():
    drawn = []
    preprocessor = MODELS.build(dict(type="mmpretrain.ClsDataPreprocessor", mean=MEAN, std=STD))
    runner = runner_of(SimpleNamespace(data_preprocessor=preprocessor), drawn)
    hook = ShowViewsHook(num=3, interval=5)
    hook.before_train(runner)
    images = torch.randint(0, 256, (4, 3, 96, 96), dtype=torch.uint8)
    for runner.iter in range(6):
        hook.before_train_iter(runner, runner.iter)
        data = preprocessor(dict(inputs=images.clone()), True)
        data["inputs"].zero_()
        hook.after_train_iter(runner, runner.iter)
    assert [(name, step) for name, step, _ in drawn] == [("views", 1), ("views", 6)]
    assert not preprocessor._forward_hooks
    picture = drawn[0][2]
    expected = images.flip(1).permute(0, 2, 3, 1).numpy()
    # Two in a row, then one.
    assert picture.shape == (2 * 96 + 3, 2 * 96 + 3, 3)
    assert (picture[:96, 99:] == expected[1]).all() and (picture[99:, :96] == expected[2]).all()


def test_attention_leaves_the_model_as_it_was(tmp_path):
    rows = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(rows).save(tmp_path / "a.png")
    drawn, model = [], build()
    model.train()
    model.teacher.eval()
    modes = [module.training for module in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    before = torch.get_rng_state()
    hook = ShowAttentionHook(images=[str(tmp_path / "a.png")] * 2, interval=4)
    hook.before_train(runner_of(model, drawn))
    for iteration in range(10):
        hook.after_train_iter(runner_of(model, drawn, iteration), iteration)
    assert [step for _, step, _ in drawn] == [0, 4, 8, 10]
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    # An image, the teacher's map and the student's, which are the same in an untrained model.
    picture = drawn[0][2]
    assert picture.shape == (3 * 96 + 6, 2 * 96 + 3, 3)
    assert (picture[99:195] == picture[198:]).all() and (picture[:96] != picture[99:195]).any()
    # Resumed, there is no first picture; a training set without files has none at all.
    del drawn[:]
    hook.before_train(runner_of(model, drawn, iterations=5))
    ShowAttentionHook().before_train(runner_of(model, drawn))
    assert drawn == []
    # A model without such a map costs a warning, once, and not the training.
    hook.before_train(other := runner_of(torch.nn.Linear(1, 1), drawn))
    hook.after_train_iter(other, 3)
    [(_, text)] = drawn
    assert text.startswith("ShowAttentionHook draws nothing from here on: Linear has no backbone")
