"""Draw where a backbone looks on your own images: attention by head, or feature saliency."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Draw one PNG an image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", help="images, or folders of images")
    parser.add_argument(
        "--model",
        required=True,
        help="bam:PATH[@student], timm:NAME[@PATH], mmpretrain:NAME@PATH or random:NAME",
    )
    parser.add_argument("--out", type=Path, default=Path("attention"), help="folder to write to")
    parser.add_argument("--size", type=int, default=224, help="short side of an image in pixels")
    parser.add_argument("--seed", type=int, default=0, help="of random weights")
    parser.add_argument("--trust-checkpoint", action="store_true", help="as of tools/test.py")
    args = parser.parse_args()
    from mmengine.logging import MMLogger

    from bam_mm.figures.attention import (
        build_looker,
        find_images,
        plot_attention,
        read_image,
    )

    paths = find_images(args.images)
    # mmengine reports every tensor that init_weights leaves alone.
    MMLogger.get_instance("attention", log_level="WARNING")
    looker = build_looker(args.model, trust=args.trust_checkpoint, seed=args.seed)
    for number, path in enumerate(paths):
        image = read_image(path, short_side=args.size, multiple=looker.multiple)
        # Images of several folders may share a name.
        taken = sum(other.stem == path.stem for other in paths[:number])
        out = args.out / f"{path.stem}{f'_{taken + 1}' if taken else ''}.png"
        print(plot_attention(image, looker.look(image), out, heads=looker.heads))
