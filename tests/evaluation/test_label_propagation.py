"""Label propagation: results of DINO's script, a slow reference, invariances, memory, errors."""

import numpy as np
import pytest
import torch
from PIL import Image

from bam_mm.evaluation import patch_matching
from bam_mm.evaluation.label_propagation import propagate_labels, transfer_labels
from bam_mm.evaluation.patch_matching import match_patches
from bam_mm.evaluation.patch_window import window_bands
from bam_mm.evaluation.soft_labels import first_frame_labels, read_out
from tests.reference.slow_label_propagation import slow_propagate_labels, slow_read_out

# From the released script of DINO: inputs, sum of each class, first four patches, checksum of
# argmax.
RELEASED = [
    (
        dict(seed=1, h=10, w=14, d=24, classes=3, n=4, topk=5, radius=3),
        [48.02231545938167, 47.675440250056496, 44.30224429056182],
        [
            [0.3957490850992992, 0.25966827937105197, 0.01638801295717013, 0.017781766792899556],
            [0.34929775202429003, 0.36921760935428327, 0.0, 0.523141612672239],
            [0.25495316287641073, 0.37111411127466476, 0.9836119870428299, 0.4590766205348615],
        ],
        9464,
    ),
    (
        dict(seed=2, h=8, w=8, d=16, classes=4, n=2, topk=10, radius=12),
        [12.398536910582894, 18.691379184729914, 16.68946668488508, 16.220617219802108],
        [
            [0.015953548888919124, 0.10817810146155175, 0.805203911225924, 0.29452693791448975],
            [0.006527342990134557, 0.12560961453511163, 0.01569821876933092, 0.23242174174622127],
            [0.4500197840329055, 0.7381300968653128, 0.14010854244126605, 0.17693437764209852],
            [0.5274993240880408, 0.028082187138023823, 0.03898932756347902, 0.29611694269719036],
        ],
        3440,
    ),
    (
        dict(seed=3, h=9, w=7, d=16, classes=2, n=3, topk=7, radius=0),
        [32.365599270792856, 30.634400729207147],
        [
            [0.20685848349768438, 0.2764033974549768, 0.362220961076484, 0.9214440354526604],
            [0.7931415165023155, 0.7235966025450231, 0.6377790389235161, 0.07855596454733965],
        ],
        1108,
    ),
]


def video(seed, h, w, d, classes, n):
    """Draw a frame, its context and one-hot labels, in float64."""
    r = np.random.RandomState(seed)
    base = r.randn(h * w, d)
    target = base + 0.5 * r.randn(h * w, d)
    context = np.stack([base + 0.5 * r.randn(h * w, d) for _ in range(n)])
    maps = [np.eye(classes)[r.randint(0, classes, h * w)] for _ in range(n)]
    labels = np.stack([m.T.reshape(classes, h, w) for m in maps])
    return tuple(torch.from_numpy(x) for x in (target, context, labels))


@pytest.mark.parametrize(("case", "sums", "first", "checksum"), RELEASED)
def test_equals_the_released_script(case, sums, first, checksum):
    settings = {k: case[k] for k in ("topk", "radius")}
    inputs = video(*(case[k] for k in ("seed", "h", "w", "d", "classes", "n")))
    out = propagate_labels(*inputs, grid=(case["h"], case["w"]), temperature=0.1, **settings)
    assert out.sum((1, 2)).tolist() == pytest.approx(sums, abs=1e-10)
    for channel, expected in zip(out.flatten(1), first, strict=True):
        assert channel[:4].tolist() == pytest.approx(expected, abs=1e-10)
    places = torch.arange(1, case["h"] * case["w"] + 1)
    assert int((out.argmax(0).flatten() * places).sum()) == checksum


@pytest.mark.parametrize("seed", range(50))
def test_equals_the_slow_reference(seed):
    r = np.random.RandomState(seed)
    h, w, n, classes = (int(r.randint(1, high)) for high in (8, 9, 5, 5))
    radius = int(r.choice([0, 1, 2, 3, 5, 12]))
    settings = dict(
        grid=(h, w),
        topk=int(r.randint(1, 30)),
        radius=radius,
        temperature=float(r.uniform(0.03, 1)),
    )
    target, context, labels = video(seed, h, w, 6, classes, n)
    labels = torch.from_numpy(r.dirichlet(np.ones(classes), (n, h, w))).permute(0, 3, 1, 2)
    chunk = (int(r.randint(1, 9)), int(r.randint(1, 5))) if seed % 2 else None
    out = propagate_labels(target, context, labels, chunk=chunk, **settings)
    slow = slow_propagate_labels(target.tolist(), context.tolist(), labels.tolist(), **settings)
    torch.testing.assert_close(out, torch.from_numpy(slow), rtol=0, atol=1e-12)


@pytest.mark.parametrize("radius", [0, 2, 12])
@pytest.mark.parametrize("chunk", [(1, 1), (3, 2), (4, 5), (100, 100)])
def test_chunks_do_not_matter(radius, chunk):
    inputs = video(0, 11, 7, 8, 3, 5)
    settings = dict(grid=(11, 7), topk=4, radius=radius)
    expected = propagate_labels(*inputs, **settings)
    torch.testing.assert_close(
        propagate_labels(*inputs, chunk=chunk, **settings), expected, rtol=0, atol=1e-13
    )


def test_the_order_of_the_context_does_not_matter():
    target, context, labels = video(0, 6, 7, 8, 3, 5)
    order = [3, 0, 4, 2, 1]
    a = propagate_labels(target, context, labels, grid=(6, 7), radius=2)
    b = propagate_labels(target, context[order], labels[order], grid=(6, 7), radius=2)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


@pytest.mark.parametrize("chunk", [None, (2, 1)])
def test_patches_that_tie_for_the_last_place_all_count(chunk):
    # Three copies of a frame: with topk 1 the nearest patch of each copy has the same cosine.
    target, context, _ = video(0, 4, 5, 8, 2, 1)
    context = context.expand(3, -1, -1)
    labels = torch.eye(3, dtype=torch.float64)[:, :, None, None].expand(3, 3, 4, 5)
    for order in ([0, 1, 2], [2, 0, 1]):
        out = propagate_labels(
            target, context, labels[order], grid=(4, 5), topk=1, radius=2, chunk=chunk
        )
        torch.testing.assert_close(out, torch.full_like(out, 1 / 3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_some_patches_tie_and_others_do_not(seed):
    # Cosines of vectors of 16 signs are exact multiples of 1/16, so many of them tie.
    r = np.random.RandomState(seed)
    target, context = (torch.from_numpy(r.choice([-1.0, 1.0], s)) for s in ((20, 16), (3, 20, 16)))
    labels = torch.from_numpy(r.rand(3, 2, 4, 5))
    settings = dict(grid=(4, 5), topk=int(r.randint(1, 8)), radius=seed % 3, temperature=0.1)
    out = propagate_labels(target, context, labels, chunk=(2, 2), **settings)
    slow = slow_propagate_labels(target.tolist(), context.tolist(), labels.tolist(), **settings)
    torch.testing.assert_close(out, torch.from_numpy(slow), rtol=0, atol=1e-12)


def test_equal_features_average_the_window():
    # The cosine is 0 everywhere, so all patches of the window tie.
    target, context, labels = video(0, 4, 5, 8, 2, 2)
    out = propagate_labels(
        torch.zeros_like(target), torch.zeros_like(context), labels, grid=(4, 5), topk=2, radius=1
    )
    assert out[0, 0, 0].item() == pytest.approx(labels[:, 0, :2, :2].mean().item())
    assert out[0, 2, 2].item() == pytest.approx(labels[:, 0, 1:4, 1:4].mean().item())


def test_the_scale_of_features_does_not_matter():
    target, context, labels = video(0, 6, 7, 8, 3, 2)
    r = torch.Generator().manual_seed(0)
    scale = torch.rand(2, 42, 1, generator=r, dtype=torch.float64) * 100 + 1e-3
    a = propagate_labels(target, context, labels, grid=(6, 7), radius=3)
    b = propagate_labels(target * 7e4, context * scale, labels, grid=(6, 7), radius=3)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_labels_move_with_the_image():
    # Every patch has a different feature, and the frame is moved by (1, 2) patches.
    h, w = 6, 8
    features = torch.randn(h, w, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.rand(1, 3, h, w, generator=torch.Generator().manual_seed(1))
    moved = features.roll((1, 2), (0, 1)).reshape(h * w, 32)
    out = propagate_labels(
        moved, features.reshape(1, h * w, 32), labels, grid=(h, w), topk=1, radius=2
    )
    assert torch.equal(out[:, 1:, 2:], labels[0, :, :-1, :-2])
    # If the patch has left the window, another patch is matched.
    near = propagate_labels(
        moved, features.reshape(1, h * w, 32), labels, grid=(h, w), topk=1, radius=1
    )
    assert not torch.isclose(near[:, 1:, 2:], labels[0, :, :-1, :-2]).any()


def test_several_topk_share_one_matching(monkeypatch):
    inputs = video(0, 6, 7, 8, 3, 3)
    settings = dict(grid=(6, 7), radius=3)
    single = [propagate_labels(*inputs, topk=k, **settings) for k in (10, 3, 5, 500)]
    calls = []
    products = patch_matching.banded_products
    monkeypatch.setattr(
        patch_matching, "banded_products", lambda *a: (calls.append(1), products(*a))[1]
    )
    several = propagate_labels(*inputs, topk=[10, 3, 5, 500], **settings)
    assert len(calls) == 1
    for a, b in zip(several, single, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


def test_settings_have_separate_label_maps():
    target, context, labels = video(0, 6, 7, 8, 3, 2)
    other = labels.flip(0)
    matches = match_patches(target, context, grid=(6, 7), topk=7, radius=3)
    for k, maps in ((7, labels), (3, other)):
        expected = propagate_labels(target, context, maps, grid=(6, 7), topk=k, radius=3)
        torch.testing.assert_close(
            transfer_labels(matches, maps, topk=k), expected, rtol=0, atol=1e-13
        )


def test_outputs_are_distributions():
    target, context, labels = video(0, 9, 9, 8, 3, 3)
    for temperature in (1e-4, 0.1, 100.0):
        out = propagate_labels(
            target, context, labels, grid=(9, 9), radius=4, temperature=temperature
        )
        torch.testing.assert_close(out.sum(0), torch.ones_like(out[0]), rtol=0, atol=1e-12)
        assert out.min() >= 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_lower_precision(dtype):
    target, context, labels = video(0, 8, 9, 64, 3, 3)
    target, context = target.to(dtype), context.to(dtype)
    out = propagate_labels(target, context, labels.to(dtype), grid=(8, 9), radius=4)
    # Only the inputs are rounded, so the same rounded inputs in float64 have the same result.
    exact = propagate_labels(target.double(), context.double(), labels, grid=(8, 9), radius=4)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=2e-5)


@pytest.mark.parametrize("radius", [0, 4])
def test_autocast_does_not_round_the_similarities(radius):
    inputs = video(0, 8, 9, 64, 3, 3)
    exact = propagate_labels(*inputs, grid=(8, 9), radius=radius)
    with torch.autocast("cpu", torch.bfloat16):
        out = propagate_labels(*(x.float() for x in inputs), grid=(8, 9), radius=radius)
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=2e-5)


def test_strided_features_and_features_with_gradients():
    target, context, labels = video(0, 6, 7, 8, 3, 3)
    expected = propagate_labels(target, context, labels, grid=(6, 7), radius=3)
    strided = context.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    out = propagate_labels(
        target.T.contiguous().T.requires_grad_(), strided, labels, grid=(6, 7), radius=3
    )
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-13)
    assert not out.requires_grad


def test_never_holds_more_than_its_chunk(monkeypatch):
    sizes = []
    products = patch_matching.banded_products

    def record(*args):
        out = products(*args)
        sizes.append(tuple(out.shape))
        return out

    monkeypatch.setattr(patch_matching, "banded_products", record)
    inputs = video(0, 20, 15, 4, 2, 5)
    propagate_labels(*inputs, grid=(20, 15), radius=2, chunk=(3, 2))
    assert len(sizes) == 7 * 3
    # (w, rows, 2r + 1 columns, rows + 2r, frames)
    assert max(sizes) == (15, 3, 5, 7, 2)


def test_bands_cover_every_row_once_with_its_window():
    for h, radius, rows in ((30, 12, 10), (7, 2, 3), (5, 0, 2), (1, 4, 8)):
        bands = window_bands((h, 9), radius, rows)
        assert [y for band in bands for y in range(*band.rows)] == list(range(h))
        for band in bands:
            assert 1 <= band.rows[1] - band.rows[0] <= rows
            reach = radius or h
            keys = {
                k for y in range(*band.rows) for k in range(y - reach, y + reach + 1) if 0 <= k < h
            }
            assert list(range(*band.key_rows)) == sorted(keys)
    with pytest.raises(ValueError, match=r"grid=\(0, 9\) in bands of 8 rows"):
        window_bands((0, 9), 2)


def test_wrong_inputs():
    target, context, labels = video(0, 6, 7, 8, 3, 2)
    broken = context.clone()
    broken[1, 5, 2] = torch.nan
    good = dict(target=target, context=context, labels=labels, grid=(6, 7))
    cases = [
        (dict(target=target[None]), r"target \(1, 42, 8\) and context \(2, 42, 8\) must be"),
        (dict(context=context[:, :, :4]), r"same backbone's features"),
        (dict(grid=(7, 7), labels=torch.zeros(2, 3, 7, 7)), r"42 patches, but grid=\(7, 7\)"),
        (dict(labels=labels[:1]), r"labels \(1, 3, 6, 7\) must be \(2, C, 6, 7\)"),
        (dict(context=context[:0], labels=labels[:0]), r"context holds 0 frames"),
        (dict(target=target.long(), context=context.long()), r"torch\.int64.*\.float\(\)"),
        (dict(target=target.float()), r"float32 and context torch\.float64"),
        (dict(topk=0), r"topk=0"),
        (dict(topk=[5, 0]), r"topk=\[5, 0\]"),
        (dict(topk=[]), r"topk is an empty sequence"),
        (dict(radius=-1), r"radius=-1 patches"),
        (dict(chunk=(0, 4)), r"chunk=\(0, 4\)"),
        (dict(temperature=0), r"temperature=0 must be positive"),
        (
            dict(context=broken),
            r"context's feature of patch 5 \(frame 1\) is not finite \(norm nan\)",
        ),
    ]
    for change, message in cases:
        with pytest.raises(ValueError, match=message):
            propagate_labels(**{**good, **change})
    matches = match_patches(target, context, grid=(6, 7), topk=3)
    with pytest.raises(ValueError, match="topk=5, but the matches hold the 3 nearest"):
        transfer_labels(matches, labels, topk=5)
    with pytest.raises(ValueError, match=r"labels \(1, 3, 6, 7\) must be \(n, C, h, w\) of the 84"):
        transfer_labels(matches, labels[:1], topk=3)


@pytest.mark.parametrize("seed", range(6))
def test_read_out_equals_the_slow_reference(seed):
    r = np.random.RandomState(seed)
    soft = r.dirichlet(np.ones(3), (3, 4)).transpose(2, 0, 1)
    if seed % 2:
        soft[2] = 0  # an object that has disappeared
    size = (int(r.randint(5, 40)), int(r.randint(5, 50)))
    out = read_out(torch.from_numpy(soft.copy()), patch_size=8, size=size)
    assert out.dtype == torch.uint8
    assert np.array_equal(out.numpy(), slow_read_out(soft, 8, size))


def test_read_out_scales_a_weak_object_to_full_range():
    soft = torch.zeros(2, 3, 3)
    soft[0] = 1
    soft[:, 1, 1] = torch.tensor([0.7, 0.3])  # the smaller one, but the maximum of its channel
    assert read_out(soft, patch_size=4)[6, 6] == 1
    assert read_out(soft, patch_size=4)[0, 0] == 0


def test_read_out_of_constant_channels():
    # The released script divides 0 by 0 here, and NaN wins its argmax.
    everywhere = torch.zeros(3, 2, 2)
    everywhere[2] = 1
    assert (read_out(everywhere, patch_size=4) == 2).all()
    assert (read_out(torch.zeros(3, 2, 2), patch_size=4) == 0).all()


def test_read_out_of_half_precision_and_wrong_inputs():
    soft = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0)).half()
    assert torch.equal(read_out(soft, size=(30, 40)), read_out(soft.float(), size=(30, 40)))
    with pytest.raises(ValueError, match=r"\(257, 2, 2\) must be \(C, h, w\) with 1 to 256"):
        read_out(torch.zeros(257, 2, 2))
    with pytest.raises(ValueError, match="not all finite"):
        read_out(torch.full((2, 2, 2), torch.nan))


def test_first_frame_is_resized_as_in_pillow():
    r = np.random.RandomState(0)
    sizes = [((480, 854), (30, 52)), ((480, 910), (30, 54)), ((6, 20), (4, 6)), ((7, 9), (20, 31))]
    sizes += [((int(a), int(b)), (int(c), int(d))) for a, b, c, d in r.randint(1, 90, (200, 4))]
    for size, grid in sizes:
        annotation = r.randint(0, 4, size).astype(np.uint8)
        expected = Image.fromarray(annotation).resize(grid[::-1], Image.Resampling.NEAREST)
        labels = first_frame_labels(annotation, grid, num_labels=4)
        assert labels.shape == (4, *grid) and labels.dtype == torch.float32
        assert np.array_equal(labels.argmax(0).numpy(), np.asarray(expected))
        assert (labels.sum(0) == 1).all()


def test_first_frame_channels():
    annotation = np.zeros((32, 32), np.uint8)
    annotation[:16, :16] = 2
    annotation[20:, 20:] = 255
    annotation[31, 0] = 3  # lost at patch resolution
    annotation.flags.writeable = False  # as in decoded images
    labels = first_frame_labels(annotation, (2, 2))
    assert labels.argmax(0).tolist() == [[2, 0], [0, 0]]
    assert len(labels) == 4 and labels[3].sum() == 0
    assert torch.equal(first_frame_labels(torch.from_numpy(annotation.copy()), (2, 2)), labels)


def test_first_frame_wrong_inputs():
    with pytest.raises(ValueError, match=r"\(8, 8, 3\): it must be \(H, W\) integers.*RGB"):
        first_frame_labels(np.zeros((8, 8, 3), np.uint8), (2, 2))
    with pytest.raises(ValueError, match=r"torch\.float32"):
        first_frame_labels(torch.zeros(8, 8), (2, 2))
    with pytest.raises(ValueError, match="ids from 0 to 3, but num_labels=3 allows 0 to 2"):
        first_frame_labels(np.array([[0, 3]]), (1, 1), num_labels=3)
