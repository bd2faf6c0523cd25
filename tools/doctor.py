"""Check the installation and print, for each fault, the problem and a command that fixes it."""

import runpy
from pathlib import Path

# Beside bam_mm in a checkout, and in bam_mm/.mim in an installed package.
ABOVE = Path(__file__).resolve().parents[1]
CANDIDATES = (ABOVE / "bam_mm/cli/doctor.py", ABOVE.parent / "cli/doctor.py")

if __name__ == "__main__":
    # By its path, because bam_mm may not be importable.
    runpy.run_path(str(next(p for p in CANDIDATES if p.is_file())), run_name="__main__")
