"""Visual words: nearest words against a loop, and how they are fitted."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bam_mm import InputError
from bam_mm.hooks import VisualWordsHook
from bam_mm.methods import TwoNormPreprocessor, VisualWords, fit_words

pytestmark = pytest.mark.slow

WORDS, SIDE = 7, 4


def tokenizer(words=WORDS, fitted=True):
    torch.manual_seed(0)
    made = VisualWords(num_words=words, patch_size=SIDE)
    if fitted:
        made.set_words(torch.randn_like(made.words))
    return made


def nearest(images, words, side):
    """The definition: for each patch, a loop over the words, in float64."""
    batch, _, height, width = images.shape
    found = torch.empty(batch, height // side, width // side, dtype=torch.int64)
    words = words.double()
    for b in range(batch):
        for row in range(height // side):
            for column in range(width // side):
                patch = images[b, :, row * side :, column * side :][:, :side, :side]
                distances = [(patch.double().flatten() - word).square().sum() for word in words]
                found[b, row, column] = int(torch.stack(distances).argmin())
    return found


def test_tokens_are_the_nearest_words():
    made = tokenizer()
    images = torch.randn(3, 3, 8, 12)
    scores = made(images)
    assert scores.shape == (3, WORDS, 2, 3) and scores.dtype == torch.float32
    assert torch.equal(scores.argmax(dim=1), nearest(images, made.words, SIDE))
    assert len(scores.argmax(dim=1).unique()) > 2
    # Scores are minus half the squared distance, up to a number of the patch.
    patch = images[1, :, :4, 4:8].flatten()
    distances = (made.words - patch).square().sum(dim=1) / -2
    offset = distances - scores[1, :, 0, 1]
    assert torch.allclose(offset, offset[:1].expand(WORDS), atol=1e-4)


def test_tokens_do_not_depend_on_autocast():
    made = tokenizer()
    made.words.mul_(1e-3).add_(1.0)  # bfloat16 rounds all words to the same one.
    images = 1.0 + 1e-3 * torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = made(images)
    assert torch.equal(found, made(images)) and len(found.argmax(dim=1).unique()) > 2


def test_words_are_in_the_state():
    made, other = tokenizer(), tokenizer(fitted=False)
    images = torch.randn(1, 3, 8, 8)
    with pytest.raises(InputError, match=r"VisualWords is not fitted: add .*VisualWordsHook"):
        other(images)
    other.load_state_dict(made.state_dict())
    assert other.is_fitted and torch.equal(other(images), made(images))
    assert not list(made.parameters())


def test_wrong_settings():
    with pytest.raises(InputError, match=r"target_generator\.num_words=0: must be a whole number"):
        VisualWords(num_words=0)
    with pytest.raises(InputError, match=r"num_words=10\.5: must be a whole number"):
        VisualWords(num_words=10.5)
    with pytest.raises(InputError, match=r"patch_size=4: the tokenizer's images of 9x8 pixels"):
        tokenizer()(torch.zeros(1, 3, 8, 9))
    with pytest.raises(InputError, match="num_images=0: must be a whole number of at least 1"):
        VisualWordsHook(num_images=0)


def test_fitting_finds_clusters_and_is_reproducible():
    draws = np.random.default_rng(0)
    centres = 10 * draws.standard_normal((5, 6))
    patches = np.repeat(centres, 40, axis=0) + 0.1 * draws.standard_normal((200, 6))
    patches = patches.astype(np.float32)
    words = fit_words(patches, 5, seed=3)
    assert words.dtype == torch.float32 and torch.equal(words, fit_words(patches, 5, seed=3))
    distances = torch.cdist(torch.from_numpy(centres).float(), words)
    assert sorted(distances.argmin(dim=1).tolist()) == list(range(5))
    assert distances.amin(dim=1).max() < 0.3


@pytest.mark.parametrize("patches", [np.zeros((4, 3)), np.zeros((50, 3))])
def test_too_few_different_patches(patches):
    found = min(len(patches), 4) if len(patches) < 5 else 1
    with pytest.raises(InputError, match=f"5 visual words need .* have {found}: raise num_images"):
        fit_words(patches.astype(np.float32), 5)


class Images(list):
    """A training set whose crops are random."""

    def __getitem__(self, index):
        image = np.random.randint(0, 256, (3, 8, 8), dtype=np.uint8) + index
        inputs = [torch.from_numpy(image), torch.from_numpy(image)]
        return {"inputs": inputs, "data_samples": SimpleNamespace(mask=torch.zeros(2, 2))}


def collate(samples):
    inputs = [torch.stack(views) for views in zip(*(s["inputs"] for s in samples), strict=True)]
    return {"inputs": inputs, "data_samples": [s["data_samples"] for s in samples]}


def runner_of(generator, *, images=30, embed=WORDS):
    normalise = dict(mean=[128.0], std=[64.0], second_mean=[100.0], second_std=[50.0])
    preprocessor = TwoNormPreprocessor(**normalise)
    preprocessor.cast_data = lambda data: data
    model = torch.nn.Module()
    model.target_generator, model.data_preprocessor = generator, preprocessor
    model.head = torch.nn.Module()
    model.head.cls_head = torch.nn.Linear(4, embed)
    loader = SimpleNamespace(dataset=Images(range(images)), collate_fn=collate)
    logger = SimpleNamespace(info=lambda text: None)
    return SimpleNamespace(model=model, train_dataloader=loader, logger=logger)


def test_the_hook_fits_once_and_leaves_random_states_alone():
    made, other = tokenizer(fitted=False), tokenizer(fitted=False)
    np.random.seed(1)
    VisualWordsHook(num_images=20).before_train(runner_of(made))
    drawn = np.random.rand()
    np.random.seed(1)
    assert drawn == np.random.rand()
    # The state of the generators before it makes no difference.
    VisualWordsHook(num_images=20).before_train(runner_of(other))
    assert made.is_fitted and torch.equal(made.words, other.words)
    # Normalised with second_mean and second_std.
    assert -2.1 < made.words.min() < -0.5 and 0.5 < made.words.max() < 3.2
    VisualWordsHook(num_images=20, seed=9).before_train(runner_of(other))
    assert torch.equal(made.words, other.words)  # As in a resumed run.
    third = tokenizer(fitted=False)
    VisualWordsHook(num_images=20, seed=9).before_train(runner_of(third))
    assert not torch.equal(made.words, third.words)


@pytest.mark.parametrize(
    "generator,options,words",
    [
        (torch.nn.Identity(), {}, "needs model.target_generator=.*VisualWords.*not Identity"),
        (tokenizer(fitted=False), dict(embed=9), "num_embed=9, but .*num_words=7: set both"),
        (tokenizer(fitted=False), dict(images=1), "7 visual words need .* have 4: raise num_im"),
        (VisualWords(WORDS, patch_size=2), {}, "images have 4x4 patches, but the masks 2x2"),
    ],
)
def test_what_the_hook_refuses(generator, options, words):
    with pytest.raises(InputError, match=words):
        VisualWordsHook().before_train(runner_of(generator, **options))


def test_preprocessor_of_training_and_evaluation():
    normalise = dict(mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 4.0])
    second = dict(second_mean=[0.0, 0.0, 0.0], second_std=[255.0, 255.0, 255.0])
    made = TwoNormPreprocessor(**normalise, **second, to_rgb=True)
    image = torch.tensor([50, 40, 30], dtype=torch.uint8).view(1, 3, 1, 1)  # BGR
    both = made({"inputs": [image, image], "data_samples": []}, True)["inputs"]
    one = made({"inputs": image, "data_samples": []}, False)["inputs"]
    wanted = torch.tensor([20.0, 10.0, 5.0]).view(1, 3, 1, 1)
    assert torch.equal(one, wanted) and torch.equal(both[0], wanted)
    assert torch.allclose(both[1].flatten(), torch.tensor([30.0, 40.0, 50.0]) / 255)
