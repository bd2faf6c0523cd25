"""The head: its implementations, wrong settings, and the variant that docs/loss.md shows."""

import importlib
import re
from pathlib import Path

import pytest

from bam_mm import BAMHead, InputError, ViewLayout
from bam_mm.losses import IMPLEMENTATIONS
from tests.losses.test_bam_loss import inputs

LAYOUT = ViewLayout(num_global=2, num_local=2)
DOCUMENT = Path(__file__).resolve().parents[2] / "docs/loss.md"


def run(head, monitor=True):
    student, teacher = inputs(61, 6, 4, 8)
    head.monitor = monitor
    return head(student.requires_grad_(), teacher[:12], LAYOUT)


def test_both_implementations_return_the_same_loss_and_entropies():
    plain, chunked = (BAMHead(implementation=name, top_k=3) for name in ("plain", "chunked"))
    assert run(plain).item() == pytest.approx(run(chunked).item(), abs=1e-12)
    for name in ("attention_entropy", "target_entropy"):
        one, other = plain.entropies[name].item(), chunked.entropies[name].item()
        assert one == pytest.approx(other, abs=1e-12)


@pytest.mark.parametrize(
    "settings,words",
    [
        (dict(implementation="quick"), "implementation='quick': choose one of chunked, plain"),
        (dict(temperature=0.0), r"model\.head: temperature=0\.0"),
        (dict(target_views="none"), r"model\.head: target_views='none': choose 'global' or 'all'"),
        (dict(temprature=0.2), "model.head has no setting 'temprature': it has temperature, "),
    ],
)
def test_wrong_settings(settings, words):
    with pytest.raises(InputError, match=words):
        BAMHead(**settings)


def test_the_variant_that_the_documentation_shows(monkeypatch, tmp_path):
    code = re.search(r"```python\n(# my_loss\.py\n.*?)```", DOCUMENT.read_text(), flags=re.S)[1]
    (tmp_path / "my_loss.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(IMPLEMENTATIONS, "mine", None)  # so that it is removed afterwards
    module = importlib.import_module("my_loss")
    assert IMPLEMENTATIONS["mine"] is module.my_matching
    head = BAMHead(implementation="mine")
    loss = run(head)
    # Half of the target is the balanced one, half the plain softmax: between the two losses.
    ends = [run(BAMHead(sinkhorn_iters=iterations)).item() for iterations in (3, 0)]
    assert loss.item() == pytest.approx(sum(ends) / 2, rel=1e-5)
    assert head.entropies == {}
