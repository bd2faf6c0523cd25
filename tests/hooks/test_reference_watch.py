"""The collapse monitor beside reference curves: when it warns, and that it warns once."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import MODELS

from bam_mm import InputError
from bam_mm.hooks import CollapseMonitorHook
from bam_mm.hooks.collapse_monitor import feature_std
from bam_mm.hooks.reference_curves import Band, ReferenceCurves, write_reference
from tests.hooks.tiny_runner import TwoNumbers, config_of, run

BAND = Band((0.0, 2.0), (0.5, 0.9), (0.4, 0.8), (0.6, 1.0))


def reference(folder, **changes):
    """Write curves that rise from 0.4 to 0.6 to 0.8 to 1 in two epochs, and return the path."""
    fields = dict(
        title="t", method="BAM", config="bam_tiny_toy", dataset="toy", images=100, batch=10,
        epochs=2, iterations=10, seeds=3, versions={}, hardware="1 x CPU",
        series={"feature_std": BAND, "attention_entropy": BAND, "loss": BAND},
    )  # fmt: skip
    return str(write_reference(ReferenceCurves(**{**fields, **changes}), folder / "toy.json"))


def features_of(spread):
    """Return projections whose feature_std is a given one: two opposite clusters in 2 dimensions.

    Rows (c, s) and (c, -s) with s = sin t have standard deviations 0 and s: mean s / 2, times
    sqrt(2).
    """
    s = spread * 2**0.5
    c = (1 - s * s) ** 0.5
    return torch.tensor([[c, s], [c, -s]])


def drive(hook, spreads, entropies=None, start=0, iterations=10):
    """Check these values, one an iteration, and return the warnings."""
    warnings = []
    hook.iterations = iterations
    runner = SimpleNamespace(
        model=SimpleNamespace(head=SimpleNamespace(monitor=False, entropies={})),
        message_hub=SimpleNamespace(update_scalar=lambda *_: None),
        logger=SimpleNamespace(warning=warnings.append),
    )
    for number, spread in enumerate(spreads):
        runner.iter = start + number
        runner.model.last_projection = features_of(spread)
        if entropies is not None:
            runner.model.head.entropies = {"attention_entropy": torch.tensor(entropies[number])}
        hook.before_train_iter(runner, 0)
        hook.after_train_iter(runner, 0)
    return warnings


def watching(folder, **settings):
    return CollapseMonitorHook(
        **{**dict(interval=1, warmup=0, against=reference(folder), patience=3), **settings}
    )


def test_the_made_up_projections_have_the_spread():
    assert feature_std(features_of(0.3)).item() == pytest.approx(0.3)


def test_one_warning_after_patience_checks_in_a_row_outside(tmp_path):
    hook = watching(tmp_path)
    # From epoch 0.7: at epoch 1, the band is 0.6 to 0.8 and its mean 0.7, a quarter of it 0.175.
    assert drive(hook, [0.3, 0.3, 0.65, 0.3, 0.3], start=4) == []
    [warning] = drive(hook, [0.3] * 5, start=9)
    assert warning.startswith(
        "iteration 10: feature_std is 0.3 at epoch 1.00, outside of 0.425 to 0.975 in 3 checks in "
        "a row: reference curves "
    )
    assert "have 0.6 to 0.8 there, widened by 25 %. Compare the settings" in warning
    assert f"bam-mm plot WORK_DIR --against {tmp_path}/toy.json; the run goes on" in warning
    # Once only, even if the value returns and leaves again.
    assert drive(hook, [0.7] * 3 + [0.3] * 3, start=12) == []


def test_margin_warmup_and_the_ends_of_the_reference(tmp_path):
    low = [0.45] * 3  # Inside at epoch 1 with the default margin, just outside without one.
    assert drive(watching(tmp_path), low, start=8) == []
    assert len(drive(watching(tmp_path, margin=0.0), low, start=8)) == 1
    assert drive(watching(tmp_path, margin=0.0, warmup=10), low, start=8) == []
    assert drive(watching(tmp_path, margin=0.0), [0.3] * 9, start=20) == []  # after epoch 2
    assert drive(CollapseMonitorHook(interval=1, warmup=0), [0.3] * 9) == []  # no reference


def test_each_quantity_has_its_own_count_and_warning(tmp_path):
    hook = watching(tmp_path, patience=2)
    warnings = drive(hook, [0.3, 0.3, 0.3], [0.7, 3.0, 3.0], start=8)
    assert [warning.split(" is ")[0] for warning in warnings] == [
        "iteration 10: feature_std", "iteration 11: attention_entropy"
    ]  # fmt: skip


def test_a_resumed_run_continues_its_count_and_does_not_repeat_a_warning(tmp_path):
    def resumed(hook, resume=True, **settings):
        checkpoint = {}
        hook.before_save_checkpoint(None, checkpoint)
        other = watching(tmp_path, **settings)
        other.after_load_checkpoint(SimpleNamespace(_resume=resume), checkpoint)
        return other

    hook = watching(tmp_path)
    assert drive(hook, [0.3, 0.3], start=8) == []
    fresh = resumed(hook, resume=False)
    assert drive(fresh, [0.3], start=10) == []
    hook = resumed(hook)
    assert len(drive(hook, [0.3], start=10)) == 1
    assert drive(resumed(hook), [0.3] * 4, start=11) == []
    # Another reference starts anew, and so does a checkpoint from before there was one.
    (tmp_path / "other").mkdir()
    other = resumed(hook, against=reference(tmp_path / "other"))
    assert len(drive(other, [0.3] * 4, start=11)) == 1
    hook.after_load_checkpoint(SimpleNamespace(_resume=True), {"collapse_monitor": {"low": 2}})
    assert hook.low == 2


def test_settings_that_cannot_work(tmp_path):
    with pytest.raises(InputError, match="margin=-1: must be at least 0"):
        watching(tmp_path, margin=-1)
    with pytest.raises(InputError, match=r"missing\.json: no such file"):
        CollapseMonitorHook(against="missing.json")
    only_loss = reference(tmp_path, series={"loss": BAND})
    with pytest.raises(InputError, match="hold none of feature_std, attention_entropy"):
        CollapseMonitorHook(against=only_loss)


@MODELS.register_module(force=True)
class TwoClusters(TwoNumbers):
    """Model whose projections have a spread of 0.3."""

    last_projection = None

    def forward(self, inputs, data_samples=None, mode="loss"):
        self.last_projection = features_of(0.3)
        return super().forward(inputs, data_samples, mode)


def lines_of(tmp_path, monkeypatch, **config):
    hook = dict(
        type="bam_mm.CollapseMonitorHook", interval=1, warmup=0, patience=2,
        against=reference(tmp_path),
    )  # fmt: skip
    config = config_of(tmp_path / "run", custom_hooks=[hook], **config)
    config.model, config.log_level = dict(type="TwoClusters"), "INFO"
    assert run(config, monkeypatch).iter == 20
    (log,) = tmp_path.glob("run/*/*.log")
    return [line for line in log.read_text().splitlines() if "reference curves" in line]


def test_a_training_is_compared_by_epoch_and_goes_on(tmp_path, monkeypatch):
    lines = lines_of(tmp_path, monkeypatch, images=100, batch=10)
    # Outside from epoch 0.1: 0.52 is the mean there, 0.42 - 0.13 = 0.29 the limit; 0.3 is below it
    # from epoch 0.2 on (0.44 - 0.135 = 0.305).
    [line] = [line for line in lines if "WARNING" in line]
    assert "iteration 3: feature_std is 0.3 at epoch 0.30, outside of 0.32 to 0.8 in 2" in line


def test_entropies_of_another_batch_are_not_compared(tmp_path, monkeypatch):
    lines = lines_of(tmp_path, monkeypatch, images=50, batch=5)
    assert any("attention_entropy not compared" in line and "5 images" in line for line in lines)
    assert any("feature_std is 0.3 at epoch 0.30" in line for line in lines)


def test_a_training_by_iterations_has_no_epochs(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="curves go by epochs, but this training counts"):
        lines_of(tmp_path, monkeypatch, iters=20)
