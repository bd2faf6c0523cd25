"""Time of ``import bam_mm`` and ``bam-mm train --help``, each in a fresh process.

    python benchmarks/startup.py

Times are medians of alternating runs, with all files in the disk cache, and include the start of
the interpreter. The baseline is ``import mmpretrain``, which every training run needs eventually.
The bound is ``import mmengine.registry``, which is needed to register anything.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import add_json_option, seconds, write_json

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "import bam_mm": ["-c", "import bam_mm"],
    "bam-mm train --help": ["-m", "bam_mm", "train", "--help"],
    "import mmpretrain": ["-c", "import mmpretrain"],
    "import mmengine.registry": ["-c", "import mmengine.registry"],
    "nothing": ["-c", "pass"],
}
BASELINE = "import mmpretrain"
LIMIT = 3.0
"""Maximum seconds for ``import bam_mm`` and ``bam-mm train --help``."""


def start(arguments: list[str]) -> None:
    """Run the interpreter and wait until it ends."""
    command = [sys.executable, *arguments]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def main() -> None:
    """Run the measurements and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    add_json_option(parser)
    args = parser.parse_args()
    # The first round fills the disk's cache and is not counted.
    rounds = [
        {name: seconds(lambda a=arguments: start(a)) for name, arguments in COMMANDS.items()}
        for _ in range(args.runs + 1)
    ][1:]
    medians = {name: statistics.median(r[name] for r in rounds) for name in COMMANDS}
    ratios = {
        name: statistics.median(r[BASELINE] / r[name] for r in rounds)
        for name in list(COMMANDS)[:2]
    }
    for name, median in medians.items():
        text = f"{name}: {median:.2f} s"
        if name in ratios:
            verdict = "under" if median < LIMIT else "NOT under"
            text += f", {verdict} {LIMIT:.0f} s; {BASELINE} takes {ratios[name]:.1f} times as long"
        print(text)
    write_json(args.json, ratios, {f"{name} seconds": value for name, value in medians.items()})


if __name__ == "__main__":
    main()
