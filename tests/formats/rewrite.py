"""Writes the golden files of the generation that this version writes, to be reviewed as a diff.

    python -m tests.formats.rewrite               the samples of the generation that is not released yet
    python -m tests.formats.rewrite --release     the same; its sums are added: from then on it is never written again

Where a released generation cannot hold what you add, set `GENERATION` in `files.py` one higher first: a new folder.
"""

from __future__ import annotations

import sys

from tests.formats.files import GENERATION, GOLDEN, SUMS, Sample, checksum, released, text
from tests.formats.samples import operation_samples, packet_samples, row_samples


def current() -> dict[str, list[Sample]]:
    """The files of a generation."""
    return {"packets.txt": packet_samples(), "operations.txt": operation_samples(), "rows.txt": row_samples()}


def main(arguments: list[str]) -> int:
    """Write them; refuse where they are released."""
    if any(name.startswith(GENERATION) for name in released()):
        print(f"generation {GENERATION} is released, and never written again: raise GENERATION in files.py")
        return 1
    folder = GOLDEN / GENERATION
    folder.mkdir(exist_ok=True)
    for name, samples in current().items():
        (folder / name).write_text(text(samples), encoding="utf-8")
    if "--release" in arguments:
        with SUMS.open("a") as sums:
            for path in sorted(folder.iterdir()):
                sums.write(f"{checksum(path)}  {GENERATION}/{path.name}\n")
    print(f"written: {folder}; review the diff")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
