"""``python -m bam_mm`` is the same as ``bam-mm``."""

import sys
from pathlib import Path

from bam_mm.cli.main import main

if __name__ == "__main__":
    # -m puts the current folder first, where a user's config may have a library's name (mmdet.py).
    # `bam-mm` does not search it either.
    here = Path.cwd()
    if Path(sys.path[0]).resolve() == here and here != Path(__file__).resolve().parents[1]:
        del sys.path[0]
    main()
