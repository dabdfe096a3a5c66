"""Golden vectors of what is computed alike by every version and in every language: ids, tokens, buckets, digests."""

from __future__ import annotations

import pytest

from tests.core.test_state_changes import cluster
from zmqueue.core import hashing, ids, state, sums
from zmqueue.core.copies import COPIED

IDS = [
    (0, 0, 0, "010000000000000000000000000000000000000000000000", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", (0, 0, 0)),
    (1_700_000_000_000, 0x8000, 7, "01018bcfe568008000000000000000000000000000000007",
     "AQGLz-VoAIAAAAAAAAAAAAAAAAAAAAAH", (4, 16, 2048)),
    ((1 << 48) - 1, 0xFFFF, (1 << 120) - 1, "01" + "ff" * 23, "Af" + "_" * 30, (7, 31, 4095)),
]
WEIGHTS = {
    "bodies": "df76f48dc771764b", "messages": "4649c79fd48cd461", "ready": "13d83570eb2fb53d",
    "delayed": "fc8e51cb9f99e12b", "leases": "af958fb901f26a3f", "dead": "92c392b7b52e7761",
    "ended": "28a4b29c7f2f1957", "counts": "3bd70395dbe0ad89", "expiring": "9bc557667da6b18f",
    "groups": "baa86c4da3c1091b", "behind": "0ced784c1bfc3713", "uniques": "ca1961e1ce013935",
    "events": "b0673c87a5602245", "outbox": "df6c2c1262b75f6b", "links": "13ac29f780ad39df"}


@pytest.mark.parametrize(("wall", "place", "random", "data", "token", "buckets"), IDS, ids=lambda value: str(value)[:8])
def test_ids_tokens_and_buckets_are_the_golden_ones(wall: int, place: int, random: int, data: str, token: str,
                                                    buckets: tuple[int, int, int]) -> None:
    made = ids.make_id(wall, place, random.to_bytes(15, "big"))
    assert made.hex() == data and ids.token_of(made) == token and ids.parse_token(token) == made
    assert (ids.drawn_at(made), ids.place_of(made)) == (wall, place)
    assert tuple(ids.bucket_of(made, number) for number in (8, 32, 4096)) == buckets


def test_the_digest_of_a_state_is_the_golden_one() -> None:
    assert state.digest(cluster(3)).hex() == "bee34f411224c6873bf354d6c87da3b7"
    assert hashing.digest(b"").hex() == "cae66941d9efbd404e4d88758ea67670"


def test_the_weights_of_rows_are_the_golden_ones() -> None:
    """Sums are compared between versions."""
    assert {table.value: f"{weight:016x}" for table, weight in zip(COPIED, sums.WEIGHTS, strict=True)} == WEIGHTS
