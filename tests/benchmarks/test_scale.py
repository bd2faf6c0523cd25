"""The sizes and formulas of benchmarks/scale.py, and the tables of docs/distributed.md."""

import io
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from torch._subclasses.fake_tensor import FakeTensorMode

from bam_mm.launch.config import load_config
from bam_mm.optim import LARS
from benchmarks import counted_networks as counted
from benchmarks import scale
from benchmarks import scale_formulas as formulas
from benchmarks import scale_subjects as subjects_of
from benchmarks.scale_formulas import Collective, Step
from tests.models.test_bam import build, views

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_a_ring_sends_each_part_around():
    # Three processes with 12 bytes each: parts of 4 bytes go two places on, twice.
    assert Collective("", "all_reduce", torch.float32, 3).sent(3) == 16
    # Each process passes on its own 12 bytes and those of one other.
    assert Collective("", "all_gather", torch.float32, 3).sent(3) == 24
    assert Collective("", "all_gather", torch.float64, 3, count=2).sent(2) == 48
    alone = [Collective("", kind, torch.float32, 3) for kind in ("all_reduce", "all_gather")]
    assert formulas.sent(alone, 1) == 0 == formulas.seconds_on_wire(alone, 1, 1e9)
    assert formulas.seconds_on_wire(alone, 3, 20.0) == 2


def test_keys_of_the_whole_batch():
    assert Step(256, 64).keys == 32768
    keys, balancing, _ = formulas.loss_collectives(Step(256, 64))
    assert keys.sent(64) == 63 / 64 * 32768 * 4096 * 4
    assert balancing.sent(64) == 3 * 2 * 63 / 64 * 32768 * 4
    cold = formulas.loss_collectives(Step(2, 2, iterations=0, in_logs=True))
    assert [part.count for part in cold] == [1, 0, 1]


def test_buckets_are_closed_at_their_limit():
    assert formulas.buckets_of([1, 1, 1, 1, 1], first=8, other=12) == [2, 3]
    assert formulas.buckets_of([9, 1, 1], first=8, other=12) == [9, 2]
    assert formulas.buckets_of([]) == []


def test_what_the_backward_pass_hides():
    assert formulas.visible_gradient_seconds(10, 1, window=4) == 6
    assert formulas.visible_gradient_seconds(10, 1, window=40) == 1
    assert formulas.pass_seconds(10, 3, 2.0, 5.0) == 2  # 4 images at 2 images/s
    assert formulas.combined_rate(2.0, 2.0) == 1


def test_bytes_of_views():
    assert formulas.view_bytes((4, 2), batch=5) == 5 * 3 * (16 + 4) * 4
    assert formulas.shared_memory_bytes((4, 2), batch=5, workers=6) == 6 * 2 * 5 * 3 * (16 + 4)


@pytest.mark.parametrize(
    "optimizer, slots", [(torch.optim.AdamW, 2), (partial(LARS, momentum=0.9), 1)]
)
def test_state_of_a_model_and_its_checkpoint(optimizer, slots):
    neck = dict(type="bam_mm.BAMProjector", in_channels=16, hid_channels=400, out_channels=300)
    model = build(neck=neck).train()
    optimizer = optimizer([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.loss(views())["loss"].backward()
    optimizer.step()
    count = counted.parameters_of(model)
    assert count.student == count.teacher > count.trained  # The patch projection is frozen.
    state = [x for s in optimizer.state.values() for x in s.values() if x is not None and x.ndim]
    wanted = formulas.state_bytes(count.student, count.teacher, count.trained, slots)
    weights = [*model.parameters(), *model.backbone.buffers()]
    assert wanted == sum(x.numel() * x.element_size() for x in (*weights, *state))
    file = io.BytesIO()
    torch.save(dict(state_dict=model.state_dict(), optimizer=optimizer.state_dict()), file)
    assert wanted < file.tell() < 1.03 * wanted


def test_activations_are_the_tensors_that_autograd_saves():
    model = build()
    mode = FakeTensorMode()
    counted.without_contents(model, mode)
    with mode:
        memory = counted.count_step(model, 6, half=False)
        inputs = [torch.empty(6, 3, side, side) for side in model.layout.sizes]
        ours = {x.untyped_storage()._cdata for x in (*model.parameters(), *inputs)}
        saved = {}

        def pack(x):
            if x.untyped_storage()._cdata not in ours:
                saved[x.untyped_storage()._cdata] = x.untyped_storage()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            loss = model.loss(inputs)["loss"]
        kept = sum(storage.nbytes() for storage in saved.values())
        # The last projection is kept for the monitor, the loss for the log.
        kept += model.last_projection.untyped_storage().nbytes() + loss.element_size()
    assert memory.activations == kept
    assert memory.peak >= kept + 4 * sum(memory.order) * 0.5
    assert sorted(memory.order) == sorted(p.numel() for p in model.parameters() if p.requires_grad)


def test_memory_of_gathered_keys():
    batch, width = 8, 4096
    table = 2 * batch * width * 4  # bytes of the keys of one process in float32
    alone = counted.count_loss(batch, 1, width=width)
    for processes in (16, 64):
        peak = counted.count_loss(batch, processes, width=width)
        # The gathered keys exist twice while they are arranged by view.
        assert 2 * processes * table <= peak < 2 * processes * table + alone


@pytest.fixture(scope="module")
def subjects():
    return [subjects_of.count(name) for name in subjects_of.CONFIGS]


def projector(width):
    return width * 4096 + 4096 + 2 * (4096**2 + 4096)


def transformer(width, blocks=12, patches=196):
    block = 12 * width**2 + 13 * width  # qkv, projection, two layers; biases and two norms
    embedding = 3 * 16**2 * width + width
    return embedding + width + (patches + 1) * width + blocks * block + 2 * width


@pytest.mark.slow
def test_sizes_of_the_configs(subjects):
    small, base, resnet = subjects
    for subject, width in ((small, 384), (base, 768)):
        count = subject.parameters
        assert count.student == count.teacher == transformer(width) + projector(width)
        frozen = 3 * 16**2 * width + width + 197 * width  # patch projection and positions
        assert count.trained == count.student - frozen == sum(subject.buckets)
        # Recorded with a patch projection that is trained: 2 x 196 + 6 x 36 patches.
        recorded = subjects_of.recorded_step(subject.name)
        step = recorded["ours"]["flops"] / recorded["batch"]
        assert subject.operations.step + 2 * 608 * 768 * width == pytest.approx(step, rel=1e-3)
    assert resnet.parameters.trained == 23_508_032 + projector(2048)  # torchvision's, without fc
    assert len(resnet.parameters.synced) == 53 and resnet.synced
    recorded = subjects_of.recorded_step(resnet.name)
    step = recorded["ours"]["flops"] / recorded["batch"]
    assert resnet.operations.step == pytest.approx(step, rel=1e-3)
    init_default_scope("mmpretrain")
    for name in subjects_of.CONFIGS:
        loader = load_config(subjects_of.config_of(name)).train_dataloader
        assert loader.batch_size == subjects_of.BATCH
        assert loader.num_workers == subjects_of.WORKERS


@pytest.mark.slow
def test_tables_of_the_documentation(subjects):
    text = (DOCS / "distributed.md").read_text()
    for table in islice(scale.parts(subjects), 4):  # The fifth part are notes.
        assert table in text, (
            "docs/distributed.md differs from `python benchmarks/scale.py`; paste this table:\n"
            f"{table}"
        )
