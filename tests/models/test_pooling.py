"""Pooling of every layout, by hand."""

import pytest
import torch

from bam_mm import InputError
from bam_mm.models import PoolFeatures

TOKENS = torch.arange(24.0).reshape(2, 4, 3)


@pytest.mark.parametrize(
    "settings, x, wanted",
    [
        (dict(layout="NC", width=4), torch.ones(2, 4), [[1.0] * 4] * 2),
        (dict(layout="NCHW", width=4), TOKENS[:, :, None], [[1, 4, 7, 10], [13, 16, 19, 22]]),
        (
            dict(layout="NHWC", width=3),
            TOKENS.reshape(2, 2, 2, 3),
            [[4.5, 5.5, 6.5], [16.5, 17.5, 18.5]],
        ),
        (dict(layout="NCL", width=4), TOKENS, [[1, 4, 7, 10], [13, 16, 19, 22]]),
        (dict(layout="NLC", width=3), TOKENS, [[4.5, 5.5, 6.5], [16.5, 17.5, 18.5]]),
        (dict(layout="NLC", width=3, prefix=2), TOKENS, [[7.5, 8.5, 9.5], [19.5, 20.5, 21.5]]),
        (dict(layout="NLC", width=3, prefix=2, token=1), TOKENS, [[3, 4, 5], [15, 16, 17]]),
    ],
)
def test_values(settings, x, wanted):
    neck = PoolFeatures(**settings)
    for inputs in (x, (torch.zeros(1), x)):
        (found,) = neck(inputs)
        assert found.tolist() == wanted
    assert settings["layout"] in repr(neck)


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(layout="NHC", width=3), "neck.layout='NHC': choose one of"),
        (dict(layout="NCHW", width=3, prefix=1), "only 'NLC' has tokens"),
        (dict(layout="NCL", width=3, token=0), "only 'NLC' has tokens"),
    ],
)
def test_wrong_settings(settings, words):
    with pytest.raises(InputError, match=words):
        PoolFeatures(**settings)


@pytest.mark.parametrize("layout, width", [("NHWC", 2), ("NCHW", 5), ("NLC", 3)])
def test_another_shape_than_stated_stops(layout, width):
    with pytest.raises(InputError, match=r"PoolFeatures gets \(2, 2, 2, 3\)"):
        PoolFeatures(layout=layout, width=width)((TOKENS.reshape(2, 2, 2, 3),))
