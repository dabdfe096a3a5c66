"""Faults of searches, of what sweeps what they find, and of dead letters in somebody's hand."""

from __future__ import annotations

import pytest

from tests.simulation.mutants.planting import mutant, rewrite
from zmqueue.client.wishing import WishLane
from zmqueue.core import letters, wishes
from zmqueue.core.desk import Desk
from zmqueue.core.finding import Finding
from zmqueue.core.grants import Grants


def repeats_mean_the_next_death(patch: pytest.MonkeyPatch) -> None:
    """How often a letter was requeued when it was found is not looked at."""
    rewrite(patch, wishes, "_since", ("> packet.requeued[index]", "> 1 << 40"))


def sweeps_do_not_say_which_death(patch: pytest.MonkeyPatch) -> None:
    """A sweep says nothing of how often a letter was requeued when it was found."""
    rewrite(patch, WishLane, "packet", ("Requeue(request, self.bucket, ids, requeued)",
                                        "Requeue(request, self.bucket, ids)"))


def pages_begin_one_too_late(patch: pytest.MonkeyPatch) -> None:
    """The next page begins behind the row behind the last one."""
    rewrite(patch, Finding, "_dead", ('packet.after + b"\\x00")', 'packet.after[:-3] + b"\\xff\\xff\\xff")'))


def searches_do_not_wait_for_the_barrier(patch: pytest.MonkeyPatch) -> None:
    """Whoever believes that it is primary answers a search at once."""
    rewrite(patch, Finding, "find", ("self._ledger.after_barrier(_Search(self, client, packet), now)",
                                     "self.look(client, packet, now)"))


def letters_laid_down_are_not_listed(patch: pytest.MonkeyPatch) -> None:
    """A letter whose lease ends is dead again, and lies nowhere."""
    rewrite(patch, letters, "lay_down", ("put(steps, key, record)", "pass"))


def letters_do_not_rest(patch: pytest.MonkeyPatch) -> None:
    """A letter that was in hand in vain is handed out again at once."""
    rewrite(patch, Desk, "_laid_down", ("now + self._office.limits.letter_rest_s", "now - 1.0"))
    rewrite(patch, Grants, "available", ("- resting", ""))
    rewrite(patch, Grants, "_pick_letters", (" or message_id in resting", ""))


def letters_in_hand_are_requeued(patch: pytest.MonkeyPatch) -> None:
    """To whoever requeues, a letter in hand is a dead letter like any other."""
    honest = 'True if state is State.DEAD else _cannot(state, "only dead letters are requeued")'
    rewrite(patch, wishes, "_judge", (honest, honest.replace("is State.DEAD", "in (State.DEAD, State.MENDING)")))


def letters_laid_down_run_again(patch: pytest.MonkeyPatch) -> None:
    """A letter whose lease ends goes where other messages go then."""
    rewrite(patch, letters, "lay_down", ("steps.end_again(key, record, crc, State.DEAD)",
                                         "steps.wait(key, record, crc)"), ("put(steps, key, record)", "pass"))


LETTERS = [
    mutant(repeats_mean_the_next_death, "Q7", schedule="repeated_requeue"),
    mutant(sweeps_do_not_say_which_death, "Q7", schedule="swept_while_nodes_die"),
    mutant(letters_laid_down_run_again, "Q7", schedule="letters_in_hand_while_nodes_die"),
    mutant(pages_begin_one_too_late, "Q7", schedule="letters_page_by_page"),
    mutant(searches_do_not_wait_for_the_barrier, "R10", schedule="search_at_one_who_may_be_deposed"),
    mutant(letters_laid_down_are_not_listed, "Q7", schedule="letter_of_a_lost_session"),
    mutant(letters_do_not_rest, "Q7", schedule="letter_in_hand_in_vain"),
    mutant(letters_in_hand_are_requeued, "Q7", schedule="letter_requeued_beneath_a_hand"),
]
