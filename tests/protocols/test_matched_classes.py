"""Labels of queries in the numbering of the bank, by the names of the classes."""

import pytest
import torch

from bam_mm.data.class_names import ClassNames
from bam_mm.errors import InputError
from bam_mm.models.feature_table import FeatureShard
from bam_mm.protocols.matched_classes import MatchedClasses

BANK = ("crow", "duck", "owl", "tit")


def parts(queries, **others):
    names = {"test": queries, "bank": BANK, **others}
    return {k: ClassNames(f"the {k} data", len(v), (tuple(v),)) for k, v in names.items()}


def shard(labels):
    labels = torch.tensor(labels)
    rows = torch.arange(len(labels))
    return FeatureShard(rows[:, None].float(), rows, labels)


def test_the_same_classes_are_left_alone():
    matched = MatchedClasses(parts(BANK))
    table = shard([3, 0])
    assert matched.relabel("test", table) is table and matched.relabel("bank", table) is table
    assert matched.names == list(BANK) and not matched.counts


def test_another_order_and_spelling():
    matched = MatchedClasses(parts(("Tit", "owl", "duck", "crow")))
    assert matched.relabel("test", shard([0, 1, 3])).labels.tolist() == [3, 2, 0]


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (("crow", "owl"), "has 2 of the 4 classes of the bank data, and not duck, tit"),
        ((*BANK, "wren"), "1 of the 5 classes of the test data is not among the 4 of the bank"),
        (("crow", "duck", "owls", "tit"), r"owls \(only there: owl\)"),
    ],
)
def test_queries_of_other_classes_stop(queries, message):
    with pytest.raises(InputError, match=message):
        MatchedClasses(parts(queries))


def test_all_classes_of_the_bank_compete():
    matched = MatchedClasses(parts(("crow", "owl")), "all")
    bank = shard([0, 1, 2, 3])
    assert matched.relabel("bank", bank) is bank and len(matched.names) == 4
    assert matched.relabel("test", shard([0, 1, 1])).labels.tolist() == [0, 2, 2]
    assert matched.counts["classes/compared"] == 4


def test_only_the_classes_of_the_queries_compete():
    matched = MatchedClasses(parts(("crow", "owl"), val=("owl", "crow", "tit")), "subset")
    assert matched.names == ["crow", "owl"] and matched.counts["classes/compared"] == 2
    assert matched.relabel("test", shard([0, 1, 1])).labels.tolist() == [0, 1, 1]
    features, rows, labels = matched.relabel("bank", shard([1, 0, 2, 3, 2, 0]))
    assert features.flatten().tolist() == [1, 2, 4, 5]
    assert rows.tolist() == [0, 1, 2, 3] and labels.tolist() == [0, 1, 1, 0]
    assert matched.relabel("val", shard([0, 1, 2])).labels.tolist() == [1, 0]
    # The rows of the second of two processes.
    mine = FeatureShard(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([1, 3, 5]),
                        torch.tensor([1, 0, 2, 3, 2, 0]))  # fmt: skip
    features, rows, labels = matched.relabel("bank", mine)
    assert features.flatten().tolist() == [1, 5] and rows.tolist() == [0, 3]
    assert labels.tolist() == [0, 1, 1, 0]
