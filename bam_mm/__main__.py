"""``python -m bam_mm`` is the same as ``bam-mm``."""

from bam_mm.cli.main import main

if __name__ == "__main__":
    main()
