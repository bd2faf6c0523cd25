"""Time of many linear probes in one training, compared with a training for each of them.

    python benchmarks/linear_probe.py

Both train the same heads, one for each of three features, three learning rates and two weight
decays, with SGD on the same images in memory and the same small ViT, from the same weights. The
baseline is the sum of all single trainings, each of which is run. The weights of all heads are
compared after the first trainings. The bound is one single training: the forward passes of the
backbone, and one head.
"""

import argparse
import logging
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample

from bam_mm import ManyLinearProbes, ManyLinearProbesConstructor
from benchmarks.measuring import add_json_option, alternate, cpu_seconds, write_json

CLASSES = 100
FEATURES = ("cls", "mean", "cls4")
LEARNING_RATES = (0.01, 0.1, 1.0)
WEIGHT_DECAYS = (0.0, 1e-4)
MOMENTUM = 0.9


class Bench:
    """Images in memory, all heads in one model, and a model for each head."""

    def __init__(self, arch: str, size: int, batch: int, steps: int) -> None:
        init_default_scope("mmpretrain")
        torch.manual_seed(0)
        backbone = dict(type="VisionTransformer", arch=arch, img_size=size, patch_size=16)
        head = dict(
            type="LinearClsHead",
            num_classes=CLASSES,
            loss=dict(type="CrossEntropyLoss"),
            init_cfg=dict(type="Normal", layer="Linear", std=0.01),
        )
        width = 192 if arch == "deit-tiny" else 384
        self.many = ManyLinearProbes(
            backbone, head, FEATURES, LEARNING_RATES, WEIGHT_DECAYS, in_channels=width
        )
        self.many.init_weights()
        self.singles = [self._single(number) for number in range(len(self.many.settings))]
        wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=1, momentum=MOMENTUM))
        self.optimizer = ManyLinearProbesConstructor(wrapper)(self.many).optimizer
        self.images = torch.randn(steps, batch, 3, size, size)
        self.samples = [
            [DataSample().set_gt_label(label) for label in torch.randint(CLASSES, (batch,))]
            for _ in range(steps)
        ]

    def _single(self, number: int):
        setting = self.many.settings[number]
        model = self.many.single_probe(setting.feature)
        model.backbone = self.many.backbone  # The same weights, once in memory.
        model.head.load_state_dict(self.many.head.probes[number].state_dict())
        settings = dict(lr=setting.learning_rate, weight_decay=setting.weight_decay)
        return model, torch.optim.SGD(model.head.parameters(), momentum=MOMENTUM, **settings)

    def train(self, model, optimizer) -> None:
        """Train a model for all steps."""
        model.train()
        for images, samples in zip(self.images, self.samples, strict=True):
            optimizer.zero_grad()
            model.loss(images, samples)["loss"].backward()
            optimizer.step()

    def together(self) -> None:
        """Train all heads in one model."""
        self.train(self.many, self.optimizer)

    def apart(self) -> None:
        """Train each head alone, one after the other."""
        for single in self.singles:
            self.train(*single)

    def difference(self) -> float:
        """Return the largest difference between the weights of a head in both trainings."""
        pairs = zip(self.many.head.probes, self.singles, strict=True)
        return max(
            (a - b).abs().max().item()
            for probe, (model, _) in pairs
            for a, b in zip(probe.parameters(), model.head.parameters(), strict=True)
        )


def main() -> None:
    """Run the comparison and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="deit-tiny", choices=("deit-tiny", "deit-small"))
    parser.add_argument("--size", type=int, default=96, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3, help="steps of a training")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    add_json_option(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.disable(logging.INFO)
    bench = Bench(args.arch, args.size, args.batch, args.steps)
    heads = len(bench.singles)
    fast, slow, ratio = alternate(bench.together, bench.apart, runs=args.runs, timer=cpu_seconds)
    difference = bench.difference()
    trainings = args.runs + 1
    print(
        f"{args.arch}, {args.batch} images of {args.size} px, {args.steps} steps, {heads} heads of "
        f"{CLASSES} classes: weights differ by {difference:.1e} after {trainings} trainings"
    )
    print(f"processor time: together {fast:.2f} s, {heads} alone {slow:.2f} s, ratio {ratio:.2f}")
    one = sorted(cpu_seconds(lambda: bench.train(*bench.singles[0])) for _ in range(3))[1]
    print(f"  one alone: {one:.2f} s, {one / fast:.0%} of together")
    figures = {
        "seconds": fast,
        "seconds of single trainings": slow,
        "seconds of one": one,
        "heads": heads,
        "largest difference of weights": difference,
    }
    write_json(args.json, {"time": ratio}, figures)


if __name__ == "__main__":
    main()
