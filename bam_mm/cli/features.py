"""Write the features of images to a file: an array, and the names of its rows.

The backbone sees the images as in the kNN task of a suite, with its own normalisation. The file
holds the arrays features (images x width, float32) and names: numpy.load reads it.
"""

from __future__ import annotations

import argparse
import sys

from bam_mm.launch.arguments import add_model_argument, seed


def main() -> None:
    """Compute and write the features."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", help="image files, or folders with images below them")
    add_model_argument(parser)
    parser.add_argument(
        "--out",
        default="features.npz",
        help="file to write (features.npz); the ending .npz is added if there is none",
    )
    parser.add_argument(
        "--feature",
        choices=["cls", "cls+mean", "mean", "own"],
        help="parts of the feature (cls; mean for networks without a [CLS] token), or own: what "
        "the library's classifier would get",
    )
    parser.add_argument("--size", type=int, help="side of the images in pixels (the model's own)")
    parser.add_argument(
        "--config", help="config of a kNN task whose images and feature are used instead"
    )
    parser.add_argument("--batch-size", type=int, default=64, help="images at a time (64)")
    parser.add_argument("--workers", type=int, default=0, help="processes that read images (0)")
    parser.add_argument("--device", help="cpu, cuda or cuda:N (a GPU if there is one)")
    parser.add_argument("--seed", type=seed, default=0, help="seed of random weights")
    args = parser.parse_args()
    from mmengine.logging import MMLogger

    from bam_mm.launch.work_folder import check_output
    from bam_mm.suite.image_features import (
        PROTOCOL,
        features_file,
        image_features,
        write_features,
    )

    out = features_file(args.out)
    check_output(args.out, "--out")
    # mmengine logs every tensor that init_weights leaves unchanged.
    MMLogger.get_instance("features", log_level="WARNING")
    found = image_features(
        args.images,
        args.model,
        config=args.config or PROTOCOL,
        feature=args.feature,
        size=args.size,
        batch_size=args.batch_size,
        workers=args.workers,
        device=args.device,
        seed=args.seed,
        trust=args.trust_checkpoint,
    )
    # The standard output is that of other commands: what was written.
    print(f"preprocessing: {found.preprocessing}", file=sys.stderr)
    write_features(out, found)
    images, width = found.features.shape
    print(f"{out}: {images} images x {width} ({found.kind})")
