"""The setting ``precision``: torch's flags in and after the context, and who computes under it."""

import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bam_mm import InputError, LabelPropagation
from bam_mm import precision as precision_module
from bam_mm.data.contrastive_crop import extract_boxes
from bam_mm.evaluation import fit_logistic_regression, knn_predict
from bam_mm.evaluation import nearest_rows as nearest_rows_module
from bam_mm.hooks import BoxUpdateHook, OnlineKNNHook, box_update
from bam_mm.models import FrozenBackboneClassifier
from bam_mm.models.feature_extraction import extract_features
from bam_mm.precision import computing_in, effective_precision, exact_products
from tests.models.fake_features import Loader, unchanged
from tests.models.test_bam import build

GPU, CPU = torch.device("cuda"), torch.device("cpu")
MATMUL, CUDNN = torch.backends.cuda.matmul, torch.backends.cudnn
NEW = hasattr(MATMUL, "fp32_precision")


def read(getter):
    """Read a flag; None if torch refuses because old and new names do not agree."""
    try:
        return getter()
    except RuntimeError:
        return None


def old_flags():
    return read(lambda: MATMUL.allow_tf32), read(lambda: CUDNN.allow_tf32)


def flags():
    """Return everything that torch knows of the precision of float32 operations."""
    operators = [MATMUL, CUDNN.conv, CUDNN.rnn, torch.backends.mkldnn.matmul] if NEW else []
    new = [operator.fp32_precision for operator in operators]
    return *old_flags(), read(torch.get_float32_matmul_precision), *new


def switch(value):
    """Set TF32 by the old names."""
    MATMUL.allow_tf32 = CUDNN.allow_tf32 = value


STATES = {
    "default": lambda: None,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "old names, on": lambda: switch(True),
    "old names, off": lambda: switch(False),
}
if NEW:
    STATES |= {
        "new name, products": lambda: setattr(MATMUL, "fp32_precision", "tf32"),
        "new name, convolutions": lambda: setattr(CUDNN.conv, "fp32_precision", "ieee"),
        "new name, all": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
    }


@pytest.fixture
def restored():
    """Restore torch's initial flags after a test that changes them."""
    new = {}
    if NEW:
        operators = [torch.backends.mkldnn.matmul, CUDNN.rnn, CUDNN.conv, MATMUL, torch.backends]
        new = {operator: operator.fp32_precision for operator in operators}
    old, products = old_flags(), torch.get_float32_matmul_precision()
    before = flags()
    yield
    MATMUL.allow_tf32, CUDNN.allow_tf32 = old
    if NEW:
        torch.backends.fp32_precision = "none"
    torch.set_float32_matmul_precision(products)
    for operator, value in reversed(new.items()):
        operator.fp32_precision = value
    assert flags() == before


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("precision, allowed", [(None, True), ("tf32", True), ("float32", False)])
def test_flags_in_and_after_the_context(state, precision, allowed, restored):
    STATES[state]()
    before = flags()
    with computing_in(precision, GPU):
        assert old_flags() == (allowed, allowed)
        if NEW:
            inside = [op.fp32_precision == "tf32" for op in (MATMUL, CUDNN.conv, CUDNN.rnn)]
            assert inside == 3 * [allowed]
        with exact_products(GPU):  # What is exact stays exact in the middle of frozen work.
            assert old_flags() == (False, False)
        assert old_flags() == (allowed, allowed)
    assert flags() == before
    with pytest.raises(ZeroDivisionError), computing_in(precision, GPU):
        1 / 0  # noqa: B018
    assert flags() == before


@pytest.mark.parametrize("precision", [None, "tf32", "float32", "bfloat16"])
def test_flags_stay_as_they_are_on_a_cpu(precision):
    before = flags()
    with computing_in(precision, CPU):
        assert flags() == before


def test_threads_take_turns(restored):
    inside, leave, seen = threading.Event(), threading.Event(), []

    def first():
        with computing_in("tf32", GPU):
            inside.set()
            leave.wait(10)

    def second():
        with computing_in("float32", GPU):
            seen.append(old_flags())

    before = flags()
    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    threads[1].join(0.2)
    assert not seen  # The second thread does not change the flags under the first.
    leave.set()
    for thread in threads:
        thread.join(10)
    assert seen == [(False, False)] and flags() == before


def test_autocast_of_the_caller():
    with torch.autocast("cpu", torch.bfloat16):
        for precision, wanted in ((None, True), ("float32", False), ("tf32", False)):
            with computing_in(precision, CPU):
                assert torch.is_autocast_enabled("cpu") == wanted
    with computing_in("bfloat16", CPU):
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        with exact_products(CPU):
            assert not torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")


def test_what_a_setting_means_on_a_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    settings = (None, "tf32", "float32", "bfloat16")
    on_a_cpu = ["float32", "float32", "float32", "bfloat16"]
    assert [effective_precision(p, CPU) for p in settings] == on_a_cpu
    on_a_gpu = ["tf32", "tf32", "float32", "bfloat16"]
    assert [effective_precision(p, GPU) for p in settings] == on_a_gpu
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert [effective_precision(p, GPU) for p in settings] == on_a_cpu


class Backbone(nn.Module):
    """Returns a map, and notes the type in which its convolution computes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.types = set()

    def forward(self, x):
        x = self.conv(x)
        self.types.add(x.dtype)
        return (x,)


WANTED = [(None, torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)]


@pytest.mark.parametrize("precision, wanted", WANTED)
def test_every_frozen_backbone_computes_in_its_precision(precision, wanted):
    backbone = Backbone()
    options = dict(description="test", precision=precision)
    features, _ = extract_features(backbone, unchanged, Loader(6), gather=True, **options)
    assert backbone.types == {wanted} and features.dtype == torch.float32

    backbone.types.clear()
    found = []

    def heat_maps(model, images):
        found.append(model(images)[0].sum(dim=1))
        return torch.rand(len(images), 2, 2)

    extract_boxes(backbone, unchanged, Loader(6), heat_maps=heat_maps, threshold=0.1, **options)
    assert backbone.types == {wanted} and found

    backbone = Backbone()
    head = dict(type="mmpretrain.LinearClsHead", num_classes=3, in_channels=4)
    model = FrozenBackboneClassifier(backbone, head, feature="mean", precision=precision)
    (feature,) = model.extract_feat(torch.randn(2, 3, 4, 4))
    assert backbone.types == {wanted} and feature.dtype == torch.float32
    assert model.precision_used == str(wanted).removeprefix("torch.")
    assert model.head((feature,)).dtype == torch.float32


@pytest.mark.parametrize(
    "options, computes, stores",
    [
        (dict(precision="bfloat16"), torch.bfloat16, torch.float32),
        (dict(precision="float32", dtype="bfloat16"), torch.float32, torch.bfloat16),
        (dict(dtype="bfloat16"), torch.bfloat16, torch.bfloat16),
        (dict(), torch.float32, torch.float32),
    ],
)
def test_label_propagation(options, computes, stores):
    model = LabelPropagation(dict(type=Backbone), **options)
    maps = model._extract(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    assert model.backbone.types == {computes} and maps.dtype == stores
    assert model.precision_used == str(computes).removeprefix("torch.")


def test_hooks_pass_it_on(monkeypatch):
    seen = []

    def boxes(*args, precision, **kwargs):
        seen.append(precision)
        return torch.arange(1), torch.zeros(1, 4)

    monkeypatch.setattr(box_update, "extract_boxes", boxes)
    hook = BoxUpdateHook(dict(pipeline=[dict(type="Resize")]), precision="bfloat16")
    hook.images, hook.store = [], SimpleNamespace(update=lambda *args: None)
    quiet = SimpleNamespace(add_scalars=lambda *args, **kwargs: None, info=lambda text: None)
    model = build()
    runner = SimpleNamespace(model=model, visualizer=quiet, logger=quiet, iter=0, epoch=0)
    hook._update(runner)
    assert seen == ["bfloat16"]

    class Labelled(Loader):
        def __init__(self):
            super().__init__(6)
            self.dataset.CLASSES = ["a", "b"]

    runner.message_hub = SimpleNamespace(update_scalar=lambda *args: None)
    model.backbone, model.teacher.backbone = Backbone(), Backbone()
    model.data_preprocessor.forward = unchanged
    online = OnlineKNNHook({}, {}, k=1, precision="bfloat16")
    online.built = Labelled(), Labelled()
    online._score(runner)
    assert model.backbone.types == model.teacher.backbone.types == {torch.bfloat16}


def test_scores_do_not_depend_on_autocast(monkeypatch):
    seen = []
    multiplier = nearest_rows_module.multiplier
    monkeypatch.setattr(precision_module, "_tf32_on", spy(precision_module._tf32_on, seen))
    g = torch.Generator().manual_seed(0)
    rows, labels = torch.randn(40, 8, generator=g), torch.arange(40) % 3
    scores = knn_predict(rows, labels, rows[:5], num_classes=3, k=3)
    fit = fit_logistic_regression(rows, labels, num_classes=3, penalty=1.0)
    assert len(seen) >= 2 and not any(seen)  # Each time, TF32 is off.
    logits = fit.scores(rows)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(knn_predict(rows, labels, rows[:5], num_classes=3, k=3), scores)
        again = fit_logistic_regression(rows, labels, num_classes=3, penalty=1.0)
        assert torch.equal(again.weight, fit.weight) and torch.equal(fit.scores(rows), logits)
        assert multiplier(rows)(rows).dtype == torch.float32


def spy(function, seen):
    def noting(device, allowed):
        seen.append(allowed)
        return function(device, allowed)

    return noting


@pytest.mark.parametrize(
    "build, words",
    [
        (lambda: OnlineKNNHook({}, {}, precision="fp16"), "OnlineKNNHook precision='fp16'"),
        (
            lambda: BoxUpdateHook(dict(pipeline=[dict(type="Resize")]), precision="TF32"),
            "BoxUpdateHook precision='TF32': choose one of float32, tf32, bfloat16, or None",
        ),
        (
            lambda: FrozenBackboneClassifier(Backbone(), dict(), precision="half"),
            "model.precision='half'",
        ),
        (lambda: LabelPropagation(dict(), precision=16), "model.precision=16"),
    ],
)
def test_wrong_settings(build, words):
    with pytest.raises(InputError, match=words):
        build()
