"""Draw the attention heads of a backbone, or its feature saliency, on your own images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bam_mm.launch.arguments import add_model_argument, seed


def main() -> None:
    """Draw a PNG for each image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", help="image files or folders of images")
    add_model_argument(parser)
    parser.add_argument("--out", type=Path, default=Path("attention"), help="output folder")
    parser.add_argument(
        "--size", type=int, default=224, help="short side of the resized images in pixels"
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of random weights")
    parser.add_argument(
        "--normalisation",
        choices=["model", "imagenet"],
        default="model",
        help="mean and standard deviation of the pixels: the model's own, or ImageNet's",
    )
    args = parser.parse_args()
    from mmengine.logging import MMLogger

    from bam_mm.figures.attention import (
        build_attention_model,
        find_images,
        plot_attention,
        read_image,
    )
    from bam_mm.launch.work_folder import check_folder

    check_folder(args.out, "--out")
    paths = find_images(args.images)
    # mmengine logs every tensor that init_weights leaves unchanged.
    MMLogger.get_instance("attention", log_level="WARNING")
    model = build_attention_model(
        args.model,
        trust=args.trust_checkpoint,
        seed=args.seed,
        normalisation=args.normalisation,
    )
    used = model.preprocessing
    # The standard output lists the pictures.
    print(f"preprocessing: {used.describe_normalisation()}, from {used.source}", file=sys.stderr)
    for number, path in enumerate(paths):
        image = read_image(path, short_side=args.size, multiple=model.multiple, fixed=model.fixed)
        # Images of several folders may share a name.
        taken = sum(other.stem == path.stem for other in paths[:number])
        out = args.out / f"{path.stem}{f'_{taken + 1}' if taken else ''}.png"
        print(plot_attention(image, model.attention(image), out, heads=model.heads))
