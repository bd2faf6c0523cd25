"""Texts of the command line: what stays a path, and what becomes a number or a list."""

from argparse import ArgumentParser

import pytest
from mmengine.config import DictAction

from bam_mm import InputError
from bam_mm.launch.option_text import OptionsAction, OptionText, read_value


def options(*words):
    parser = ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=OptionsAction)
    return parser.parse_args(words).cfg_options


PATHS = ["2017", "1e5", "a,b", "[new] photos", "my photos (1)", "True", "nan", "1_000", "a=b", "(x"]


@pytest.mark.parametrize("text", PATHS)
@pytest.mark.parametrize(
    "key, present",
    [("data_root", "data/toy"), ("checkpoint", None), ("val.dataset.data_prefix.img", "val/")],
)
def test_a_path_stays_as_it_is(key, present, text):
    assert read_value(OptionText(text), key, present) == text


@pytest.mark.parametrize(
    "key, text, value",
    [
        ("cache_dir", "None", None),
        ("load_from", "None", None),
        ("data_root", "None", "None"),  # no run is without data
        ("checkpoint", "random", "random"),
        ("train_dataloader.dataset.split", "2017", "2017"),
        ("data_root", "'my photos'", "my photos"),
        ("model.feature", "cls+mean", "cls+mean"),
    ],
)
def test_names_and_words_that_switch_off(key, text, value):
    assert read_value(OptionText(text), key, "now") == value


@pytest.mark.parametrize(
    "text",
    [
        *("5", "0.5", "1e-3", "true", "False", "None", "5,10", "[5,10]", "[5, 10]", "(1,2)", "[]"),
        *("5,", "[(1,2),[a,b],c]", "a,b", "'a'", '"[5,10]"', "[[1],[2,3]]", "-1", "inf", "[,]"),
    ],
)
def test_other_values_are_read_as_mmengine_reads_them(text):
    expected = DictAction._parse_iterable(text)
    value = read_value(OptionText(text), "test_cfg.k", [10])
    assert value == expected and type(value) is type(expected)


def test_entries_of_lists_keep_their_spaces_and_names():
    classes = read_value(OptionText("[traffic light, 2017,car]"), "metainfo.classes", ["a"])
    assert classes == ["traffic light", "2017", "car"]
    assert read_value(OptionText("2017,2018"), "test.sequences", None) == ["2017", "2018"]
    assert read_value(OptionText("[5, 10]"), "x", ["a"]) == ["5", "10"]


@pytest.mark.parametrize("text", ["[5,10", "5,10]", "(5,10]", "[(5,10]", "[5,10))"])
def test_an_open_bracket_is_named(text):
    with pytest.raises(InputError, match=r"--cfg-options test_cfg\.k=.*bracket.*no partner; write"):
        read_value(OptionText(text), "test_cfg.k", [10])


@pytest.mark.parametrize(
    "words, message",
    [
        (["data_root"], "--cfg-options data_root: expected KEY=VALUE"),
        (["=3"], "--cfg-options =3: expected KEY=VALUE"),
        (["+=3"], "--cfg-options [+]=3: expected KEY=VALUE"),
        (["a=1", "config.py"], "config.py: expected KEY=VALUE.*other arguments before"),
        (["data_root="], "data_root=: there is no value after '='"),
        (["data_root=  "], "no value"),
        (["cache_dir="], "no value after '='; write one, or cache_dir=None"),
        (["data_root= "], "there is no value after '='; write one"),
    ],
)
def test_what_is_no_option(words, message):
    with pytest.raises(InputError, match=message):
        options("--cfg-options", *words)


def test_repeated_options_add_up_and_an_empty_text_can_be_written():
    found = options("--cfg-options", "a=1", "b=x=y", "--cfg-options", "c=''", "a=2")
    assert found == {"a": "2", "b": "x=y", "c": "''"}
    assert read_value(found["c"], "data_prefix.img", "train/") == ""


@pytest.mark.parametrize(
    "key, text, value",
    [
        ("model.backbone.drop_path", "0.1", 0.1),
        ("model.backbone.drop_path", "1e-3", 1e-3),
        ("model.head.loss.class_weights", "[1,2.5]", [1, 2.5]),
        ("model.head.loss.class_weights", "1,2", [1, 2]),
        ("train_dataloader.sampler.weights", "(1,2)", (1, 2)),
        ("model.learned_path", "true", True),
        ("model.learned_path", "'2017'", "2017"),
        ("model.weights", "None", None),
        ("model.class_weights", "a, b", "a, b"),
        ("extra.image_path", "2017/val", "2017/val"),
        ("train_dataloader.dataset.path", "2017", "2017"),
        ("train_dataloader.dataset.ann_file", "2017", "2017"),
    ],
)
def test_new_settings_with_the_name_of_a_path_may_be_numbers(key, text, value):
    found = read_value(OptionText(text), f"+{key}", None)
    assert found == value and type(found) is type(value)
    assert read_value(OptionText("2017"), key, "2016") == "2017"


def test_a_dict_cannot_be_written():
    with pytest.raises(InputError, match=r"a dict cannot be written.*model\.neck\.NAME=VALUE"):
        read_value(OptionText("{'type': 'X'}"), "model.neck", None)
