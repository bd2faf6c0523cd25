import pytest

from bam_mm import InputError, ViewLayout


def test_order_sizes_and_resolutions():
    layout = ViewLayout(num_global=2, num_local=6, global_size=224, local_size=96)
    assert layout.num_views == 8
    assert layout.sizes == (224, 224, 96, 96, 96, 96, 96, 96)
    assert layout.resolutions == (slice(0, 2), slice(2, 8))
    assert ViewLayout(2, 2, 32, 32).resolutions == (slice(0, 4),)
    assert ViewLayout(2, 0).resolutions == (slice(0, 2),)


def test_mismatch_reports_found_and_expected_views():
    layout = ViewLayout(2, 1, 48, 24)
    layout.check([(4, 3, 48, 48), (4, 3, 48, 48), (4, 3, 24, 24)])
    with pytest.raises(InputError, match=r"delivers 2 views of sizes \[48x48, 48x48\].*wants 3"):
        layout.check([(4, 3, 48, 48)] * 2)
    with pytest.raises(InputError, match="32x24"):
        layout.check([(4, 3, 48, 48), (4, 3, 48, 48), (4, 3, 32, 24)])


@pytest.mark.parametrize(
    "fields,words",
    [
        (dict(num_global=1), "1 global and 0 local"),
        (dict(num_global=0, num_local=4), "0 global"),
        (dict(global_size=0), "0 and 96 px"),
        (dict(views=2), "no field"),
    ],
)
def test_impossible_layouts(fields, words):
    with pytest.raises(InputError, match=words):
        ViewLayout.of(fields)
