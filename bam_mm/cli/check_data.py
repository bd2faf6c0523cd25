"""Check that a data set is all there: counts against the known sizes, and what mends a fault."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> int:
    """Print the report; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "name",
        help="imagenet, food101, cifar10, cifar100, cars, aircraft, pets, flowers, coco, ade20k, "
        "davis2017, or "
        "folder for image folders of your own (train, val or test, with a folder a class)",
    )
    parser.add_argument("path", type=Path, help="folder of the data set")
    parser.add_argument("--deep", action="store_true", help="decode every image as well")
    args = parser.parse_args()
    from rich.progress import track

    from bam_mm.data.checks.dense_folders import check_map_labels
    from bam_mm.data.checks.folders import check_images, images_in
    from bam_mm.data.checks.known import check_data

    findings = check_data(args.name, args.path)
    if args.deep:
        paths = sorted(images_in(args.path.expanduser()))
        findings += check_images(paths, lambda p: track(p, description="decoding", transient=True))
        if args.name == "ade20k":
            paths = [path for path in paths if path.suffix == ".png"]
            findings += check_map_labels(paths, 150)
    for finding in findings:
        print(f"{'ok   ' if finding.ok else 'FAULT'} {finding.text}")
        if not finding.ok:
            print(f"      mend it: {finding.remedy}")
    return int(any(not finding.ok for finding in findings))
