"""Time and peak memory of one training step of the full ViT-B Cascade Mask R-CNN on the CPU.

    python benchmarks/cascade_mask_rcnn_step.py

A step is forward, backward and AdamW with layer decay, with batch size 1, 480x640 pixels, ten
random boxes with masks and bfloat16 under autocast. The peak memory is that of the process,
including weights, gradients and optimizer state.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CONFIG = "vit-base-p16_cascade-mask-rcnn_8xb2-amp-12e_coco.py"


def make_batch(size: tuple[int, int], objects: int) -> dict:
    """Draw an image and its annotations, in the format of mmdet's loaders."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    rng = np.random.default_rng(0)
    height, width = size
    corners = rng.uniform(0, 0.6, (objects, 2)) * (width, height)
    sides = rng.uniform(0.1, 0.4, (objects, 2)) * (width, height)
    boxes = np.concatenate([corners, corners + sides], 1).astype(np.float32)
    masks = np.zeros((objects, height, width), np.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.astype(int), strict=True):
        mask[y0:y1, x0:x1] = 1
    sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size))
    sample.gt_instances = InstanceData(
        bboxes=torch.from_numpy(boxes),
        labels=torch.from_numpy(rng.integers(80, size=objects)),
        masks=BitmapMasks(masks, height, width),
    )
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    image = torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8))
    return dict(inputs=[image], data_samples=[sample])


def main() -> None:
    """Run the step and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), help="height and width")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--objects", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--activation-checkpointing", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import init_default_scope

    import bam_mm  # noqa: F401
    from bam_mm.launch.config import load_config
    from bam_mm.registry import MODELS

    config = load_config(Path(__file__).resolve().parents[1] / "configs/det" / CONFIG)
    init_default_scope("mmdet")
    config.model.backbone.activation_checkpointing = args.activation_checkpointing
    model = MODELS.build(config.model).train()
    optimizer = build_optim_wrapper(model, _plain(config)).optimizer
    # On a CPU, the NMS of mmcv supports float32 only, which box coordinates need anyway.
    for head in (model.rpn_head, *model.roi_head.bbox_head, *model.roi_head.mask_head):
        head.register_forward_hook(lambda module, inputs, output: _float(output))
    batch = model.data_preprocessor(make_batch(tuple(args.size), args.objects), training=True)
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bfloat16"):
        losses = model(**batch, mode="loss")
        loss, _ = model.parse_losses(losses)
    forward = time.perf_counter() - start
    loss.backward()
    optimizer.step()
    total = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    missing = sum(g is None for g in gradients)
    finite = all(torch.isfinite(g).all() for g in gradients if g is not None)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {args.dtype}, {args.size}")
    print(f"loss {loss.item():.3f}; {missing} parameters without gradient; finite: {finite}")
    print(f"forward {forward:.1f} s, whole step {total:.1f} s, peak memory {peak:.1f} GiB")


def _float(output):
    """Convert the outputs of a head to float32, however they are nested."""
    if isinstance(output, torch.Tensor):
        return output.float()
    return type(output)(_float(part) for part in output)


def _plain(config) -> dict:
    """Return the optimizer's config without mixed precision, for which mmengine needs a GPU."""
    kept = {k: v for k, v in config.optim_wrapper.items() if k not in ("type", "loss_scale")}
    return dict(type="OptimWrapper", **kept)


if __name__ == "__main__":
    main()
