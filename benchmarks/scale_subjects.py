"""Networks of the pretraining configs on ImageNet: counted sizes, and rates of their parts."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch._subclasses.fake_tensor import FakeTensorMode

from bam_mm.launch.config import load_config
from benchmarks import counted_networks as counted
from benchmarks import scale_formulas as formulas
from benchmarks.model_flops import PEAK_TFLOPS

GB, MB, MIB, MS = 1e9, 1e6, 2**20, 1e-3
IMAGES, VALIDATION, BANK_FRACTION = 1_281_167, 50_000, 0.1
# Of the configs; tests compare them.
BATCH, WORKERS = 256, 12

# Measured on one NVIDIA H100 (docs/results.md): images/s of a step, eager and with compiled blocks;
# images/s of the augmentation on the device; seconds of the loss for that many rows x keys.
STEP_RATES = {"ViT-S/16": (1303.0, 1849.0), "ViT-B/16": (621.0, 831.0)}
AUGMENTATION_RATE = 6735.0
LOSS_SECONDS, LOSS_ENTRIES = 0.0252, 32768 * 8192

# Measured on one core of an AMD EPYC, from files of 500 x 400 px: images/s of the training's loader
# (docs/benchmarks.md), without and with the augmentation, and of the loaders of boxes and kNN
# (benchmarks/loader_rates.py).
CORE_RATE, CORE_RATE_ALL = 331.0, 145.0
BOX_CORE_RATE, KNN_CORE_RATE = 250.0, 225.0

# Assumed.
RESNET_UTILISATION = 0.07  # share of the H100's peak; 5 to 10 % is usual for convolutions
FROZEN_FLOPS = 100e12  # operations/s of a forward pass in TF32, a fifth of the H100's peak
EXACT_FLOPS = 40e12  # operations/s of products in float32 without TF32
LATENCY = 30e-6  # seconds of a collective beside those of its bytes
FILE_BYTES = 110e3  # mean size of a file of ImageNet
DISK_BANDWIDTH = 1e9  # bytes/s

CONFIGS = {"ViT-S/16": "vit-small-p16", "ViT-B/16": "vit-base-p16", "ResNet-50": "resnet50"}
"""Part of the config's name by network."""
_RECORDS = {"ViT-S/16": "", "ViT-B/16": "_vit_base", "ResNet-50": "_resnet50"}


@dataclass(frozen=True)
class Subject:
    """A network with its counted sizes.

    Attributes:
        name: Name of the network.
        sides: Sides of the views in pixels.
        slots: Tensors of a parameter's size that the optimizer keeps.
        synced: Whether the config synchronises BatchNorm.
        parameters: Numbers of parameters.
        operations: Operations for an image.
        memory: Memory of a step of ``BATCH`` images in bfloat16 on a GPU.
    """

    name: str
    sides: tuple[int, ...]
    slots: int
    synced: bool
    parameters: counted.Parameters
    operations: counted.Operations
    memory: counted.StepMemory

    @property
    def rates(self) -> dict[str, float]:
        """Images/s of a step by variant."""
        if self.name in STEP_RATES:
            return dict(zip(("eager", "compiled"), STEP_RATES[self.name], strict=True))
        peak = 1e12 * PEAK_TFLOPS["H100"]
        return {"computed": RESNET_UTILISATION * peak / self.operations.step}

    @property
    def step_rate(self) -> float:
        """Images/s of the fastest step."""
        return max(self.rates.values())

    @property
    def rate(self) -> float:
        """Images/s of the fastest step after the augmentation on the device."""
        return formulas.combined_rate(self.step_rate, AUGMENTATION_RATE)

    @cached_property
    def buckets(self) -> list[int]:
        """Elements of the gradients' buckets."""
        return formulas.buckets_of(self.memory.order)

    @property
    def state(self) -> int:
        """Bytes of weights, teacher and optimizer."""
        p = self.parameters
        return formulas.state_bytes(p.student, p.teacher, p.trained, self.slots)

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint; it has a box of four float32 for each image."""
        return self.state + 16 * IMAGES

    def knn_table(self, processes: int) -> int:
        """Return the bytes of the online kNN's features of one branch on a process.

        Args:
            processes: Number of processes, which share the rows of the bank; all have the queries.
        """
        rows = -(-round(BANK_FRACTION * IMAGES) // processes) + VALIDATION
        return 4 * self.parameters.features * rows


def count(name: str) -> Subject:
    """Count the sizes of a network's pretraining config.

    Args:
        name: Key of :data:`CONFIGS`.
    """
    config = load_config(config_of(name))
    model = counted.build(config_of(name))
    parameters = counted.parameters_of(model)
    with FakeTensorMode() as mode:
        counted.without_contents(model, mode)
        return Subject(
            name=name,
            sides=model.layout.sizes,
            slots={"AdamW": 2, "bam_mm.LARS": 1}[config.optim_wrapper.optimizer.type],
            synced=config.get("sync_bn") is not None,
            parameters=parameters,
            operations=counted.count_operations(model),
            memory=counted.count_step(model, BATCH),
        )


def count_on_a_cpu(name: str, batch: int) -> int:
    """Count the peak of a network's step in float32 on a CPU, in bytes."""
    model = counted.build(config_of(name))
    with FakeTensorMode() as mode:
        counted.without_contents(model, mode)
        return counted.count_step(model, batch, half=False).peak


def config_of(name: str) -> str:
    """Return the path of a network's pretraining config."""
    return f"bam_mm::pretrain/bam_{CONFIGS[name]}_16xb256-amp-coslr-300e_in1k.py"


def recorded_step(name: str) -> dict:
    """Return the figures of a network's training step that were measured on a CPU."""
    record = json.loads(Path(__file__).with_name("recorded.json").read_text())
    return record["benchmarks"][f"training_step{_RECORDS[name]}"]["figures"]


def epoch_seconds(subject: Subject, processes: int) -> float:
    """Return the time of an epoch, without communication and waiting for loaders."""
    return formulas.pass_seconds(IMAGES, processes, subject.rate)


def box_seconds(subject: Subject, processes: int) -> float:
    """Return the time of a box update: the teacher on all images, at the config's workers."""
    device = FROZEN_FLOPS / subject.operations.view
    return formulas.pass_seconds(IMAGES, processes, device, WORKERS * BOX_CORE_RATE)


def knn_seconds(subject: Subject, processes: int) -> float:
    """Return the time of an online kNN score of student and teacher.

    The processes share the images, and each compares all queries with its part of the bank.
    """
    bank = round(BANK_FRACTION * IMAGES)
    device = FROZEN_FLOPS / (2 * subject.operations.view)
    loading = WORKERS * KNN_CORE_RATE
    features = formulas.pass_seconds(bank + VALIDATION, processes, device, loading)
    products = 2 * (2 * bank * VALIDATION * subject.parameters.features) / processes
    return features + products / EXACT_FLOPS


def checkpoint_seconds(subject: Subject, processes: int) -> float:
    """Return the time in which the first process writes a checkpoint, however many there are."""
    return subject.checkpoint / DISK_BANDWIDTH
