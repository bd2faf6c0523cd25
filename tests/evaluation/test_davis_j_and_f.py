"""J and F: results of the official evaluator, a slow reference, values by hand, wrong inputs."""

import numpy as np
import pytest

from bam_mm.evaluation.boundary_planes import dilate_planes
from bam_mm.evaluation.jaccard_boundary import (
    davis_j_and_f,
    davis_summary,
    object_measures,
    score_object,
)
from tests.reference.slow_davis import slow_davis_j_and_f

KEYS = ("J_mean", "J_recall", "J_decay", "F_mean", "F_recall", "F_decay")

# From the official DAVIS-2017 evaluator: seed, shift of the prediction, object erased in frames
# 5 to 7; then mean, recall and decay of J and F for each object.
OFFICIAL = [
    (0, (0, 0), None, [(1.0, 1.0, 0.0, 1.0, 1.0, 0.0), (1.0, 1.0, 0.0, 1.0, 1.0, 0.0)]),
    (
        1,
        (2, 3),
        None,
        [
            (
                0.35954221343897436,
                0.1,
                0.07915857976830637,
                0.6433410211899677,
                0.6,
                -0.4152201976724849,
            ),
            (
                0.7676663290898369,
                1.0,
                0.0005379130023215328,
                0.5871428571428572,
                1.0,
                0.0019323671497584183,
            ),
        ],
    ),
    (
        2,
        (-4, 5),
        1,
        [
            (
                0.38459566886124286,
                0.7,
                -8.44823822999663e-05,
                0.19130748350010646,
                0.0,
                -0.010527109502519338,
            ),
            (
                0.6180225594461269,
                1.0,
                -0.0003954857960042357,
                0.2800319051528,
                0.0,
                0.0024191279887482153,
            ),
        ],
    ),
    (
        3,
        (0, 9),
        2,
        [
            (
                0.6393104581973312,
                1.0,
                0.002247100444615624,
                0.25248439450686644,
                0.0,
                -0.005638784852268042,
            ),
            (
                0.3524675297792045,
                0.4,
                -0.00784695021547449,
                0.2745203619909502,
                0.0,
                0.0007541478129713397,
            ),
        ],
    ),
]


def moving_ellipses(seed):
    r = np.random.RandomState(seed)
    frames, height, width = 12, 96, 160
    y, x = np.mgrid[:height, :width]
    video = np.zeros((frames, height, width), np.uint8)
    for object_id in (1, 2):
        cy, cx = r.uniform(0.3, 0.7) * height, r.uniform(0.3, 0.7) * width
        vy, vx = r.uniform(-2, 2), r.uniform(-3, 3)
        a, b = r.uniform(8, 20), r.uniform(8, 28)
        for t in range(frames):
            inside = ((y - cy - vy * t) / a) ** 2 + ((x - cx - vx * t) / b) ** 2 <= 1
            video[t][inside] = object_id
    return video


def random_pair(seed):
    """Draw blobs that move, vanish, shrink to a pixel, touch the edges or fill the image."""
    r = np.random.RandomState(seed)
    frames = r.randint(3, 9)
    # Narrow images have few pixels but a long diagonal, and thus a wide tolerance.
    height, width = [(20, 28), (33, 25), (4, 300), (420, 3), (1, 40), (48, 40)][seed % 6]
    y, x = np.mgrid[:height, :width]
    truth = np.zeros((frames, height, width), np.uint8)
    ids = [(1,), (1, 2), (2, 5), (1, 2, 3)][r.randint(4)]
    prediction = truth.copy()
    for object_id in ids:
        cy, cx = r.uniform(0, height), r.uniform(0, width)
        vy, vx = r.uniform(-2, 2, 2)
        a, b = r.uniform(0.5, height / 2 + 1), r.uniform(0.5, width / 3)
        fate = r.choice(["stays", "vanishes", "pixel", "fills", "missing"])
        for t in range(frames):
            inside = ((y - cy - vy * t) / a) ** 2 + ((x - cx - vx * t) / b) ** 2 <= 1
            if fate == "fills" and t == frames // 2:
                inside[:] = True
            if fate == "pixel":
                inside[:] = False
                inside[int(cy), int(cx)] = True
            moved = np.roll(inside, r.randint(-3, 4, 2), axis=(0, 1)) ^ (r.rand(*y.shape) < 0.01)
            if fate != "missing" and r.rand() < 0.9:
                prediction[t][moved] = object_id
            if not (fate == "vanishes" and 0 < t >= frames // 2):
                truth[t][inside] = object_id
    for object_id in ids:
        if not (truth[0] == object_id).any():
            truth[0, r.randint(height), r.randint(width)] = object_id
    return truth, prediction


@pytest.mark.parametrize(("seed", "shift", "erased", "expected"), OFFICIAL)
def test_equals_the_official_evaluator(seed, shift, erased, expected):
    truth = moving_ellipses(seed)
    prediction = np.roll(truth, shift, axis=(1, 2))
    if erased:
        some = prediction[5:8]
        some[some == erased] = 0
    result = davis_j_and_f(truth, prediction)
    assert [row["id"] for row in result] == [1, 2]
    for row, values in zip(result, expected, strict=True):
        assert [row[k] for k in KEYS] == pytest.approx(values, abs=1e-10)


@pytest.mark.parametrize("seed", range(50))
def test_equals_the_slow_reference(seed):
    truth, prediction = random_pair(seed)
    result, expected = davis_j_and_f(truth, prediction), slow_davis_j_and_f(truth, prediction)
    assert [row["id"] for row in result] == [row["id"] for row in expected]
    for row, slow in zip(result, expected, strict=True):
        assert row == pytest.approx(slow, abs=1e-12)


@pytest.mark.parametrize("radius", range(10))
def test_dilation_is_a_disk_in_every_bit(radius):
    r = np.random.RandomState(radius)
    y, x = np.mgrid[:23, :31]
    for bit in (0, 3, 7):
        points = np.argwhere(r.rand(23, 31) < 0.01)
        planes = np.zeros((23, 31), np.uint8)
        expected = np.zeros((23, 31), bool)
        for v, u in points:
            planes[v, u] |= 1 << bit
            expected |= (y - v) ** 2 + (x - u) ** 2 <= radius**2
        assert np.array_equal(dilate_planes(planes, radius), expected.astype(np.uint8) << bit)


def test_a_shifted_pixel_by_hand():
    # For 30 x 40 pixels, the tolerance is ceil(.008 * 50) = 1 pixel. The boundary of a single pixel
    # is the 2 x 2 square whose last pixel it is. After a shift by two columns, no boundary pixels
    # coincide, but the facing columns of the two squares are adjacent, so half of each square is
    # confirmed.
    truth = np.zeros((3, 30, 40), np.uint8)
    truth[:, 10, 20] = 1
    region, boundary = score_object(truth, np.roll(truth, 2, axis=2), 1)
    assert region.tolist() == [0.0]
    assert boundary.tolist() == [0.5]


def test_edges_of_the_image_are_no_boundary():
    # The object fills the image except for the first column, which is its boundary.
    truth = np.ones((3, 30, 40), np.uint8)
    truth[:, :, 0] = 0
    prediction = truth.copy()
    prediction[1] = 1  # no boundary at all
    region, boundary = score_object(truth, prediction, 1)
    assert region.tolist() == [39 / 40]
    assert boundary.tolist() == [0.0]


def test_empty_masks():
    truth = np.zeros((6, 30, 40), np.uint8)
    truth[0, 5:9, 5:9] = 1  # vanishes after the first frame
    prediction = np.zeros_like(truth)
    prediction[2, 20:24, 20:24] = 1
    region, boundary = score_object(truth, prediction, 1)
    assert region.tolist() == [1, 0, 1, 1]
    assert boundary.tolist() == [1, 0, 1, 1]


def test_first_and_last_frame_are_not_scored():
    truth, prediction = random_pair(5)
    changed = prediction.copy()
    changed[[0, -1]] = 0
    assert davis_j_and_f(truth, changed) == davis_j_and_f(truth, prediction)


def test_statistics_by_hand():
    values = np.array([1.0, 0.8, 0.5, 0.6, 0.2])
    # The edges of the bins are the frames 0, 1, 2, 3, 4: the first bin is 0..1, the last 3..4.
    row = object_measures(7, values, values[::-1])
    assert row["id"] == 7
    assert row["J_mean"] == pytest.approx(0.62)
    assert row["J_recall"] == pytest.approx(0.6)  # 0.5 itself does not count
    assert row["J_decay"] == pytest.approx(0.9 - 0.4)
    assert row["F_decay"] == pytest.approx(0.4 - 0.9)


def test_bins_of_a_long_video():
    values = np.zeros(1000)
    values[:251] = 1
    assert object_measures(1, values, values)["J_decay"] == pytest.approx(1.0)


def test_integer_types_and_other_ids_change_nothing():
    truth, prediction = random_pair(3)
    expected = davis_j_and_f(truth, prediction)
    for dtype in (np.int8, np.uint16, np.int64):
        assert davis_j_and_f(truth.astype(dtype), prediction.astype(dtype)) == expected
    large = davis_j_and_f(truth.astype(int) * 300, prediction.astype(int) * 300)
    assert [{**row, "id": row["id"] * 300} for row in expected] == large


def test_inputs_are_not_changed():
    truth, prediction = random_pair(9)
    before = truth.copy(), prediction.copy()
    davis_j_and_f(truth, prediction)
    assert np.array_equal(truth, before[0]) and np.array_equal(prediction, before[1])


def test_void_counts_as_background():
    truth, prediction = random_pair(5)
    void = truth.copy()
    void[:, :2][void[:, :2] == 0] = 255
    assert davis_j_and_f(void, prediction) == davis_j_and_f(truth, prediction)


def test_an_id_beyond_the_objects_is_background_with_a_warning():
    truth, prediction = random_pair(5)
    strange = prediction.copy()
    strange[:, 0][strange[:, 0] == 0] = 9
    with pytest.warns(UserWarning, match=r"the id 9, but the ids of the truth's first frame"):
        result = davis_j_and_f(truth, strange)
    assert result == davis_j_and_f(truth, prediction)


def test_summary_weights_every_object_equally():
    rows = [
        {"id": 1, **dict.fromkeys(KEYS, 0.0), "J_mean": 0.9, "F_mean": 0.3},
        {"id": 1, **dict.fromkeys(KEYS, 1.0)},
        {"id": 2, **dict.fromkeys(KEYS, 0.5)},
    ]
    summary = davis_summary(rows)
    assert list(summary) == ["J&F", *KEYS]
    assert summary["J_mean"] == pytest.approx(0.8)
    assert summary["F_mean"] == pytest.approx(0.6)
    assert summary["J&F"] == pytest.approx(0.7)
    assert summary["J_recall"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no objects to average"):
        davis_summary([])


def test_wrong_inputs():
    good = np.ones((4, 8, 9), np.uint8)
    cases = [
        (good.astype(np.float32), good, r"truth is an array of float32.*argmax"),
        (good, good.astype(bool), r"prediction is an array of bool.*astype\('uint8'\)"),
        (good, good[:3], r"truth \(4, 8, 9\) and prediction \(3, 8, 9\).*resize"),
        (good[0], good[0], r"truth \(8, 9\).*\(T, H, W\)"),
        (good[:2], good[:2], r"a video of 2 frames has none to score.*at least 3"),
        (good * 0, good, r"first frame of the truth shows no object \(only the values \[0\]\)"),
        (good * 255, good, r"shows no object \(only the values \[255\]\)"),
    ]
    for truth, prediction, message in cases:
        with pytest.raises(ValueError, match=message):
            davis_j_and_f(truth, prediction)
