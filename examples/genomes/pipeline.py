"""The run step of the genomes example: Snakemake, in a folder that the next attempt finds again.

`pipeline.py --manifest FILE --inputs DIR --results DIR --work-dir DIR [--cores N]`; the rest goes
to Snakemake as it is, such as `--executor slurm --jobs 8`. Snakemake takes this program's place,
so that a signal to stop reaches it.

Exit codes: Snakemake's; 78 where a tool is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OURS = HERE.parents[1] / ".real" / "snakemake" / "bin" / "snakemake"
TOOLS = ("fastp", "bwa", "samtools", "bcftools")
EX_CONFIG = 78


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("manifest", "inputs", "results", "work-dir"):
        parser.add_argument(f"--{name}", type=lambda text: Path(text).absolute(), required=True)
    parser.add_argument("--cores", default="2")
    options, more = parser.parse_known_args()
    snakemake = shutil.which("snakemake") or (str(OURS) if OURS.exists() else None)
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or snakemake is None:
        names = " ".join([*missing, *([] if snakemake else ["snakemake"])])
        print(
            f"not installed here: {names}. `make real`, as root on Debian, installs them; or: "
            f"apt-get install {' '.join(TOOLS)}, and pip install -r requirements-snakemake.lock",
            file=sys.stderr,
        )
        sys.exit(EX_CONFIG)
    genome = json.loads(options.manifest.read_text(encoding="utf-8"))["reference_genome"]
    folder = options.work_dir / "snakemake"
    command = [
        snakemake, "--snakefile", str(HERE / "Snakefile"), "--directory", str(folder),
        "--cores", options.cores, "--rerun-incomplete", "--show-failed-logs", "--nocolor", *more,
        "--config", f"manifest={options.manifest}", f"inputs={options.inputs}",
        f"results={options.results}", f"reference={HERE / 'reference' / f'{genome}.fa'}",
    ]  # fmt: skip
    locks = folder / ".snakemake" / "locks"
    if locks.is_dir() and any(locks.iterdir()):
        # an attempt that was killed has left it: only one runs in this folder at a time
        print("an earlier attempt has left its lock; it is removed", file=sys.stderr)
        for lock in locks.iterdir():
            lock.unlink()
    os.execv(snakemake, command)


if __name__ == "__main__":
    main()
