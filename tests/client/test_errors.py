"""Errors: named by cause, and each says whether it is definite."""

from __future__ import annotations

import pytest

import zmqueue
from zmqueue import errors
from zmqueue.core.answers import Code


def test_every_code_of_the_wire_has_its_error() -> None:
    assert set(errors.BY_CODE) == set(Code)
    for code, kind in errors.BY_CODE.items():
        error = errors.refusal(code, "text")
        assert type(error) is kind and error.definite and str(error) == "text"


def test_a_code_of_a_later_version_is_a_refusal_all_the_same() -> None:
    assert type(errors.refusal(999, "text")) is zmqueue.Refused


@pytest.mark.parametrize(("error", "definite", "timeout"), [
    (zmqueue.SubmitTimeout("", "t"), False, True), (zmqueue.SettleTimeout(), False, True),
    (zmqueue.NoAnswer(), False, True), (zmqueue.ResultTimeout("", "t"), False, True),
    (zmqueue.ClusterUnreachable(), True, True), (zmqueue.Closed(), True, False), (zmqueue.LeaseLost(), True, False),
])
def test_it_is_said_what_may_have_happened(error: zmqueue.ZmqueueError, definite: bool, timeout: bool) -> None:
    assert error.definite is definite and isinstance(error, TimeoutError) is timeout


def test_a_batch_is_as_definite_as_its_least_definite_part() -> None:
    refused, unknown = zmqueue.QueueFull("full"), zmqueue.SubmitTimeout("unknown", "t")
    assert zmqueue.SubmitManyFailed(3, {0: refused}).definite
    failed = zmqueue.SubmitManyFailed(3, {1: refused, 2: unknown})
    assert not failed.definite and str(failed) == "2 of 3 messages are not confirmed; the first is index 1: full"
