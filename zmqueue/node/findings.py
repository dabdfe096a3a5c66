"""What an examination of a data directory found, and what is to be done about it."""

from __future__ import annotations

from dataclasses import dataclass, field

FAULTS_KEPT = 20
"""Faults of one kind of place that are told one by one; more are counted."""


@dataclass(slots=True)
class BucketFindings:
    """One bucket's copy."""

    bucket: int
    copy: int
    base: int
    commit: int
    end: int = 0
    rows: int = 0
    marked: bool = False                   # the node knows that it is damaged, and makes it anew
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Findings:
    """What a directory holds, and what is wrong with it."""

    data: str
    id: str | None = None
    incarnation: int | None = None
    cluster_id: str | None = None
    lineage: int | None = None
    epoch: int | None = None
    format: int | None = None
    file_bytes: int = 0
    used_bytes: int = 0
    rows: int = 0
    buckets: list[BucketFindings] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)        # of the file, or of what the node itself needs
    notes: list[str] = field(default_factory=list)         # not as new, and harmless
    corrupt: int = 0                                       # as the node counted, since the directory was made
    repaired: int = 0

    @property
    def damaged(self) -> list[int]:
        """The buckets whose copy is damaged."""
        return [bucket.bucket for bucket in self.buckets if bucket.faults]

    @property
    def sound(self) -> bool:
        """True where everything is what was written."""
        return not self.faults and not self.damaged

    def advice(self) -> str:
        """What to do."""
        if self.sound:
            return "nothing is to be done"
        if self.faults:
            return ("do not start a node on this directory. Keep it aside and start the node on an empty one with "
                    "--join: the others fill it. Where no others are left that hold the same buckets, see "
                    "docs/operating.md before anything else")
        return ("the node can be started: it condemns these copies by itself, serves nothing from them, and gets them "
                "anew from other nodes. Where this is the only node that holds a bucket, that bucket stands still. In "
                "any case something below the store changed what was written: replace the disk")
