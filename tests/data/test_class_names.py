"""Classes matched by name: which output belongs to which class of other data."""

import re
from types import SimpleNamespace

import pytest
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

from bam_mm.data.checks.recorded_classes import check_dense_classes, check_resumed_classes
from bam_mm.data.class_matching import align
from bam_mm.data.class_names import (
    FOLDERS,
    ClassNames,
    choose_folders,
    imagenet_folders,
    names_in_checkpoint,
    names_of,
)
from bam_mm.errors import InputError

BIRDS = ("crow", "duck", "owl", "tit")
WNIDS = tuple(f"n{number:08d}" for number in range(12))
NUMBERS = tuple(sorted(map(str, range(12))))  # 0, 1, 10, 11, 2, ...
IMAGENET = imagenet_folders()


def names(*namings, count=None, place="the test data in data"):
    return ClassNames(place, count or (len(namings[0]) if namings else None), namings)


def head(*namings, count=None):
    return names(*namings, count=count, place="checkpoint x.pth")


@pytest.mark.parametrize(
    ("known", "data", "reading", "columns"),
    [
        (BIRDS, BIRDS, None, None),
        (BIRDS, ("tit", "owl", "duck", "crow"), None, (3, 2, 1, 0)),
        (("Crow", "mute_swan"), ("mute swan", "crow"), None, (1, 0)),
        (("e\u0301gret", "owl"), ("owl", "\u00e9gret"), None, (1, 0)),  # as macOS writes it
        (BIRDS, ("crow", "owl"), "subset", (0, 2)),
        (BIRDS, ("crow", "owl"), "all", (0, 2, 1, 3)),
        (BIRDS, BIRDS, "subset", None),
        (WNIDS, NUMBERS, None, tuple(map(int, NUMBERS))),
        (WNIDS, tuple(f"{n:04d}" for n in range(12)), None, None),
        (BIRDS, ("0", "1", "2", "3"), "index", None),
        (BIRDS, ("1", "3"), "index", (1, 3)),
        (NUMBERS, tuple(map(str, range(12))), None, tuple(map(NUMBERS.index, map(str, range(12))))),
        (BIRDS, ("a", "b", "c", "d"), "order", None),
        (NUMBERS, NUMBERS, None, None),
        (NUMBERS, tuple(f"{n:02d}" for n in range(12)), None,
         tuple(map(NUMBERS.index, map(str, range(12))))),
        (tuple(f"{n:02d}" for n in range(12)), NUMBERS, None, tuple(map(int, NUMBERS))),
        (tuple(f"{n:02d}" for n in range(12)), NUMBERS, "index", tuple(map(int, NUMBERS))),
        (NUMBERS, ("010", "02"), "subset", (2, 4)),
        (("5", "7"), ("0", "1"), "index", None),
    ],
)  # fmt: skip
def test_outputs_in_the_order_of_the_data(known, data, reading, columns):
    assert align(head(known), names(data), reading, option="classes").columns == columns


@pytest.mark.parametrize(
    ("known", "data", "reading", "message"),
    [
        (BIRDS, ("crow", "owl"), None,
         r"in data has 2 of the 4 classes of checkpoint x.pth, and not duck, tit: .*classes=subset"
         r".*classes=all"),
        (BIRDS, ("crow", "duck", "owls", "tit"), None,
         r"1 of the 4 classes of the test data in data is not among the 4 .* owls \(only there: "
         r"owl\); rename .*classes=order"),
        (BIRDS, (*BIRDS, "wren"), "subset", "1 of the 5 classes .* is not among the 4 .*: wren; "),
        (BIRDS, ("0", "1", "2", "3"), None, "4 of the 4 .* classes=index if the names are the num"),
        (BIRDS, ("1", "2", "3", "4"), "index", "are not different numbers from 0 to 3: 4; rename"),
        (BIRDS, ("01", "1"), "index", "not different numbers from 0 to 3: 01, 1"),
        (BIRDS, ("a", "b"), "order", "has 2 classes, checkpoint x.pth 4; set classes=subset"),
        (BIRDS, ("owl",), "subset", "single class, and classes=subset compares no other"),
        (BIRDS, BIRDS, "part", "classes='part': choose one of subset, all, index, order"),
        (("crane", "crane", "owl"), ("crane", "owl"), "subset", "1 of the 2 .*: crane"),
        (WNIDS, NUMBERS[1:], None, "11 of the 11 .* classes=index"),
        (NUMBERS, NUMBERS, "index",
         "classes=index reads the class 10 of the test data in data as output 10 of checkpoint "
         "x.pth, but its output with the name 10 is 2: leave out classes=index"),
        (("1", "2", "3"), ("01", "02"), "index",
         "reads the class 01 .* as output 1 .*, but its output with the name 1 is 0: leave out"),
        (("1", "2", "3"), ("0", "1", "2"), None, "is not among the 3 .*: 0 .*; rename the class "
         "folders, or name those to use in dataset.classes$"),
        (("1", "a"), ("01", "a"), None, "1 of the 2 classes .*: 01"),
        (NUMBERS, ("1", "01"), "subset", "2 of the 2 |1 of the 2 "),
    ],
)  # fmt: skip
def test_classes_that_do_not_match(known, data, reading, message):
    with pytest.raises(InputError, match=message):
        align(head(known), names(data), reading, option="classes")


def test_what_is_logged():
    assert not align(head(BIRDS), names(BIRDS), option="classes").note
    order = align(head(WNIDS), names(NUMBERS), option="classes")
    assert "read as numbers" in order.note and "10 comes before 2" in order.note
    part = align(head(BIRDS), names(("crow", "owl")), "subset", option="classes")
    assert "2 of the 4 classes" in part.note and "only these 2 are compared" in part.note
    assert part.counts() == {"classes/in_data": 2, "classes/compared": 2, "classes/known": 4}
    every = align(head(BIRDS), names(("crow", "owl")), "all", option="classes")
    assert "all 4 are compared" in every.note and every.counts()["classes/compared"] == 4


def test_without_an_option():
    assert align(head(BIRDS), names(("owl",)), "all").note.endswith("all 4 are compared")
    with pytest.raises(InputError, match="wren; use the same class folders in both"):
        align(head(BIRDS), names((*BIRDS, "wren")), "all")


def test_words_and_folders_of_imagenet():
    # A checkpoint of mmpretrain has words, the data has folders: the same classes.
    meta = {"dataset_meta": {"classes": IMAGENET_CATEGORIES}}
    words = names_in_checkpoint(meta, "x.pth", 1000)
    assert align(words, names(IMAGENET), option="classes").columns is None
    some = (IMAGENET[7], IMAGENET[3])
    assert align(words, names(some), "subset", option="classes").columns == (7, 3)
    # Without any names, 1,000 outputs are ImageNet's if the folders are.
    bare = names_in_checkpoint(None, "x.pth", 1000)
    found = align(bare, names(some), "subset", option="classes")
    assert found.columns == (7, 3) and "taken as ImageNet's" in found.note
    # mmpretrain's ImageNet has the same words for ImageNet-V2's folders, in the order of text.
    numbers = tuple(sorted(map(str, range(1000))))
    data = SimpleNamespace(
        CLASSES=IMAGENET_CATEGORIES, folder_to_idx={n: i for i, n in enumerate(numbers)}
    )
    found = align(words, names_of(data, "test"), option="classes")
    assert found.columns == tuple(map(int, numbers)) and found.columns[2] == 10


def test_a_checkpoint_without_names():
    found = align(head(count=4), names(BIRDS), option="classes")
    assert found.columns is None and found.warning and "x.pth has no class names" in found.note
    with pytest.raises(InputError, match=r"numbers, and .*classes=index .*classes=order if the"):
        align(head(count=12), names(NUMBERS), option="classes")
    with pytest.raises(InputError, match=r"has 4 classes, and checkpoint x.pth has 9 outputs"):
        align(head(count=9), names(BIRDS), option="classes")
    with pytest.raises(InputError, match=r"classes=subset: checkpoint x.pth has no class names"):
        align(head(count=9), names(BIRDS), "subset", option="classes")


def test_names_that_checkpoints_record():
    old = names_in_checkpoint({"CLASSES": ["a", "b"]}, "x.pth", 2)
    assert old.namings == (("a", "b"),)
    both = {"dataset_meta": {"classes": ("cat", "dog")}, FOLDERS: ["n1", "n2"]}
    assert names_in_checkpoint(both, "x.pth", 2).namings == (("n1", "n2"), ("cat", "dog"))
    for odd in ({}, {"dataset_meta": None}, {"dataset_meta": {"classes": "cat"}}, [1], None):
        assert names_in_checkpoint(odd, "x.pth", 2).namings == ()


def test_names_of_a_wrapped_data_set():
    inner = SimpleNamespace(CLASSES=("a", "b"), data_root="birds", folder_to_idx={"b": 1, "a": 0})
    wrapped = SimpleNamespace(dataset=SimpleNamespace(datasets=[inner]))
    assert names_of(wrapped, "train") == ClassNames("the train data in birds", 2, (("a", "b"),))


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (("tit", "crow"), {"tit": 0, "crow": 1}),
        (("Crow", "Duck", "owl", "Tit"), {"crow": 0, "duck": 1, "owl": 2, "tit": 3}),
    ],
)
def test_folders_that_classes_name(names, numbers):
    assert choose_folders(BIRDS, names, "data") == numbers


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("crow", "wren"), "2 names, not class folders of data: wren; list the folders to use, or"),
        (("owl", "owl"), "2 names, some twice: owl"),
        (("duck", "crow", "owls", "tit"), "4 names, not class folders of data: owls"),
    ],
)
def test_classes_that_name_no_folders(names, message):
    with pytest.raises(InputError, match=message):
        choose_folders(BIRDS, names, "data")


def dense(classes):
    return SimpleNamespace(metainfo={"classes": classes})


@pytest.mark.parametrize(
    ("trained", "tested", "message"),
    [
        (("car", "cat"), ("cat", "car"), "another order: class 0 is 'car' in .* and 'cat' in"),
        (("car", "cat"), ("car", "dog"), "other words: class 1 is 'cat' .* and 'dog' in the data"),
        (("car", "cat"), ("car",), "2 classes, .* 1 .* class 1 is 'cat' .* and 'nothing' in"),
    ],
)
def test_classes_of_detectors_and_segmentors(trained, tested, message):
    meta = {"dataset_meta": {"classes": trained}}
    check_dense_classes(meta, "x.pth", dense(trained))
    check_dense_classes({"dataset_meta": {"CLASSES": list(trained)}}, "x.pth", dense(trained))
    check_dense_classes({}, "x.pth", dense(tested))
    with pytest.raises(InputError, match=message):
        check_dense_classes(meta, "x.pth", dense(tested))


def test_classes_of_a_resumed_training():
    meta = {"dataset_meta": {"classes": ("a", "b")}, FOLDERS: ["n1", "n2"]}
    folders = {"n1": 0, "n2": 1}
    check_resumed_classes(meta, SimpleNamespace(CLASSES=("a", "b"), folder_to_idx=folders))
    check_resumed_classes({}, SimpleNamespace(CLASSES=("a", "c")))
    with pytest.raises(InputError, match=re.escape("2 classes, and the training data now has 2; "
                                                   "not in both: b, c. Restore")):  # fmt: skip
        check_resumed_classes(meta, SimpleNamespace(CLASSES=("a", "c")))
    renamed = SimpleNamespace(CLASSES=("a", "b"), folder_to_idx={"n1": 0, "n3": 1})
    with pytest.raises(InputError, match="not in both: n2, n3"):
        check_resumed_classes(meta, renamed)
