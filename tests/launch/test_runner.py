"""User errors inside the exceptions of libraries, and strategies of the runner."""

import pytest
import torch
from mmengine.config import Config

from bam_mm import InputError
from bam_mm.launch.runner import build_runner, pass_sync_bn, user_errors_unwrapped

NEEDS_TWO = "Expected more than 1 value per channel when training, got input size [1, 2]"


def test_the_message_for_the_user_is_found_below_what_wraps_it():
    with pytest.raises(InputError, match=r"^set k lower$"), user_errors_unwrapped():
        try:
            try:
                raise InputError("set k lower")
            except InputError as error:
                raise TypeError("class `Loop` in loops.py: set k lower") from error
        except TypeError:
            # mmengine's registry raises a wrapper without a cause, and quotes the error.
            raise RuntimeError("class `R` in r.py: class `Loop` in loops.py: set k lower")  # noqa: B904


@pytest.mark.parametrize("first", [InputError("no file x"), ValueError(NEEDS_TWO)])
def test_a_defect_while_an_error_of_the_user_is_handled_is_a_defect(first):
    with pytest.raises(KeyError, match="defect"), user_errors_unwrapped():
        try:
            raise first
        except ValueError:
            raise KeyError("defect")  # noqa: B904  only a context
    with pytest.raises(KeyError, match="no file x"), user_errors_unwrapped():
        try:
            raise InputError("no file x")
        except ValueError:
            raise KeyError("no file x") from None


def test_known_faults_of_the_libraries_are_one_message():
    def fault(message, function, *args, **options):
        with pytest.raises(InputError, match=message), user_errors_unwrapped():
            function(*args, **options)

    images, loader = torch.zeros(1, 3, 8, 8), torch.utils.data.DataLoader
    fault(r"channels instead\): set in_channels of the", torch.nn.Conv2d(1, 2, 3), images)
    fault(
        "num_workers=0 goes with persistent_workers=False",
        loader, [1], num_workers=0, persistent_workers=True,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [InputError, KeyError])
def test_other_exceptions_pass_unchanged(kind):
    error = kind("x")
    with pytest.raises(kind) as raised, user_errors_unwrapped():
        raise error
    assert raised.value is error and error.__cause__ is None


@pytest.mark.parametrize(
    "model,runner,strategy,message",
    [
        ("bam_mm.BAM", "FlexibleRunner", "FSDPStrategy", "use strategy.type='bam_mm.ShardedStr"),
        ("bam_mm.BAM", "FlexibleRunner", "mmengine.FSDPStrategy", "cannot update the teacher"),
        ("ImageClassifier", "FlexibleRunner", "FSDPStrategy", "needs a GPU, and torch finds none"),
        ("bam_mm.BAM", None, "bam_mm.ShardedStrategy", "the default runner ignores strategies"),
        ("X", "FlexibleRunner", "bam_mm.ShardedStratgy", "choose bam_mm.ShardedStrategy$"),
        ("X", "FlexibleRunner", "DPStrategy", "'DPStrategy' does not exist; choose DDPStrategy$"),
        ("X", "FlexibleRunner", "?", "choose .* or DDPStrategy or .* or bam_mm.ShardedStrategy$"),
    ],
)
def test_strategies_that_cannot_work(monkeypatch, model, runner, strategy, message):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    config = Config(dict(model=dict(type=model), strategy=dict(type=strategy)))
    if runner is not None:
        config.runner_type = runner
    with pytest.raises(InputError, match=message):
        build_runner(config)


def test_fsdp_of_other_models_is_left_to_mmengine(monkeypatch):
    from bam_mm.launch.runner import check_strategy

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    strategy = dict(type="FSDPStrategy")
    check_strategy(
        Config(dict(runner_type="FlexibleRunner", model=dict(type="X"), strategy=strategy))
    )


def test_sync_bn_reaches_the_strategy_that_converts_the_model():
    config = Config(dict(runner_type="FlexibleRunner", launcher="pytorch", sync_bn="torch"))
    pass_sync_bn(config)
    assert config.strategy == dict(type="DDPStrategy", sync_bn="torch")
    config.strategy = dict(type="bam_mm.ShardedStrategy", sync_bn="mmcv")
    pass_sync_bn(config)
    assert config.strategy == dict(type="bam_mm.ShardedStrategy", sync_bn="mmcv")
    config.strategy = dict(type="SingleDeviceStrategy")
    with pytest.raises(InputError, match="SingleDeviceStrategy cannot synchronise BatchNorm; set"):
        pass_sync_bn(config)
    config = Config(dict(launcher="pytorch", sync_bn="torch"))
    pass_sync_bn(config)
    assert "strategy" not in config  # The default runner reads sync_bn itself.
