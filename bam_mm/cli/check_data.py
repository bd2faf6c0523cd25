"""Check that a data set is complete, and print a fix for each fault."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> int:
    """Print the findings.

    Returns:
        The exit code: 0 for success, 1 if there is a fault.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "name",
        help="imagenet, food101, cifar10, cifar100, cars, aircraft, pets, flowers, coco, ade20k or "
        "davis2017; folder for your own images in SPLIT/CLASS/IMAGE, or "
        "instances for your own COCO instance files",
    )
    parser.add_argument("path", type=Path, help="folder of the data set")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="also decode every image, and compare images with their annotation (coco, instances, "
        "ade20k)",
    )
    args = parser.parse_args()
    from rich.progress import track

    from bam_mm.data.checks.every_annotation import check_instance_sizes, check_maps
    from bam_mm.data.checks.folders import check_images, images_in
    from bam_mm.data.checks.known import check_data

    findings = check_data(args.name, args.path)
    if args.deep:
        root = args.path.expanduser()
        # An instance file lies beside or above the folders of its images.
        paths = list(images_in(root.parent if root.is_file() else root))
        findings += check_images(paths, lambda p: track(p, description="decoding", transient=True))
        if args.name == "ade20k":
            findings += check_maps(root, 150)
        if args.name in ("coco", "instances") and root.exists():
            findings += check_instance_sizes(root)
    for finding in findings:
        print(f"{'ok   ' if finding.ok else 'FAULT'} {finding.text}")
        if not finding.ok:
            print(f"      fix: {finding.remedy}")
    return int(any(not finding.ok for finding in findings))
