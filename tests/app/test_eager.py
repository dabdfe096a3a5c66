"""Eager mode, and with it what a worker does to a task: the codec, the errors, the context, the middleware."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Generator
from typing import Any, assert_type

import pytest
from pydantic import BaseModel, ValidationError

import tests.app.tasks as ours
import zmqueue
from zmqueue.app import AsyncTaskTicket, Context, Middleware, Outgoing, TaskTicket
from zmqueue.app.running import find
from zmqueue.core.ids import make_id, token_of
from zmqueue.core.operations import Kind


@pytest.fixture
def app() -> zmqueue.App:
    return zmqueue.App()


def test_a_plain_call_stays_a_plain_call() -> None:
    assert assert_type(ours.area(ours.Size(width=2, height=3), 2), int) == 12
    assert ours.area.__name__ == "area" and ours.area.__doc__ == "How many points it has."
    assert asyncio.run(ours.later(1)) == 2


def test_results_are_typed_by_the_annotation() -> None:
    with ours.app.eager():
        ticket = ours.doubled.submit(ours.Size(width=1, height=2))
        assert_type(ticket, TaskTicket[ours.Size])
        assert assert_type(ticket.result(), ours.Size) == ours.Size(width=2, height=4)
        assert ours.area.submit(size={"width": 2, "height": 3}).result() == 6      # type: ignore[arg-type]
        assert ticket.status().state == "done"
        assert list(ours.later.map([1, 2, 3])) == [2, 3, 4]


def test_wrong_arguments_are_refused_and_nothing_is_submitted() -> None:
    with ours.app.eager() as eager:
        with pytest.raises(ValidationError, match="greater than 0"):
            ours.area.submit(ours.Size(width=1, height=1), scale=0)
        with pytest.raises(ValidationError, match="greater than 0"):
            ours.area.submit_many([(ours.Size(width=1, height=1),), (ours.Size(width=1, height=1), 0)])
        assert eager.requests == {}


def test_an_error_comes_back_as_text_after_all_attempts() -> None:
    with ours.app.eager():
        ticket = ours.fail.submit("no such thing: 7")
        with pytest.raises(zmqueue.RequestFailed) as caught:
            ticket.result()
    failed = caught.value
    assert (failed.state, failed.deliveries) == ("dead", 2)
    assert (failed.error_type, failed.error_text) == ("LookupError", "no such thing: 7")
    assert failed.traceback is not None and "raise LookupError(text)" in failed.traceback


def test_a_result_that_is_not_what_was_promised_is_a_failure(app: zmqueue.App) -> None:
    @app.task(attempts=1)
    def wrong() -> int:
        return "many"  # type: ignore[return-value]

    with app.eager(), pytest.raises(zmqueue.RequestFailed) as caught:
        wrong.submit().result()
    assert caught.value.error_type == "pydantic_core._pydantic_core.ValidationError"


def test_many_calls_are_submitted_together_and_come_back_in_order() -> None:
    size = ours.Size(width=1, height=1)
    with ours.app.eager():
        tickets = ours.area.submit_many([(size, 5), ours.area.call(size, scale=2), (size,)])
        assert [ticket.result() for ticket in tickets] == [5, 2, 1]
        assert ours.area.submit_many([]) == []
        assert list(ours.area.map([size, size], [3, 4])) == [3, 4]
        with pytest.raises(ValueError, match="is shorter"):
            ours.area.map([size, size], [3])
        with pytest.raises(ValueError, match="a call of 'doubled'"):
            ours.area.submit_many([ours.doubled.call(size)])


def test_a_failed_call_is_raised_when_its_turn_comes(app: zmqueue.App) -> None:
    @app.task(attempts=1)
    def invert(number: int) -> float:
        return 1 / number

    with app.eager():
        results = invert.map([1, 2, 0, 4])
        assert [next(results), next(results)] == [1.0, 0.5]
        with pytest.raises(zmqueue.RequestFailed, match="division by zero"):
            next(results)


def test_options_are_checked_and_travel(app: zmqueue.App) -> None:
    @app.task(queue="q", attempts=3, priority=7, headers={"a": "1"})
    def seen() -> dict[str, str]:
        return dict(zmqueue.current().headers)

    with app.eager() as eager:
        ticket = seen.options(headers={"b": "2"}, priority=9).submit()
        assert {"a": "1", "b": "2", "zmqueue-task": "seen"}.items() <= ticket.result().items()
        work = eager.requests[ticket.token].work
        assert (work.queue, work.priority, work.attempts) == ("q", 9, 3)
        with pytest.raises(TypeError, match="no option 'prio'"):
            seen.options(prio=1)  # type: ignore[call-arg]
        with pytest.raises(ValueError, match="allowed is 0 to 255"):
            seen.options(priority=256).submit()
    with pytest.raises(TypeError, match="no option 'atempts'"):
        app.task(atempts=1)  # type: ignore[call-overload]


def test_the_same_id_is_one_request(app: zmqueue.App) -> None:
    ran = []

    @app.task
    def count() -> int:
        ran.append(1)
        return len(ran)

    token = "AQGiDqbDTweqvFiFL09MnNXiBdMFrecM"
    with app.eager():
        assert [count.options(id=token).submit().result() for _ in range(2)] == [1, 1]


def test_coroutine_tasks_run_with_and_without_a_loop(app: zmqueue.App) -> None:
    async def inside() -> list[int]:
        ticket = await ours.later.aio.submit(5)
        assert_type(ticket, AsyncTaskTicket[int])
        many = await ours.later.aio.submit_many([(1,), (2,)])
        mapped = [value async for value in ours.sooner.aio.map([10, 20])]
        return [await ticket.result(), ours.later.submit(6).result(), *[await one.result() for one in many], *mapped]

    with ours.app.eager():
        assert asyncio.run(inside()) == [6, 7, 2, 3, 11, 21]
        assert ours.later.submit(7).result() == 8


def test_the_context_is_that_of_the_run_and_of_no_other(app: zmqueue.App) -> None:
    with pytest.raises(LookupError, match="no task of an app runs here"):
        zmqueue.current()
    found: list[Context] = []

    @app.task(attempts=2)
    def outer() -> None:
        before = zmqueue.current()
        inner.submit().result()
        assert zmqueue.current() is before
        found.append(before)
        if before.deliveries == 1:
            raise ValueError("again")

    @app.task
    def inner() -> None:
        found.append(zmqueue.current())

    with app.eager():
        token = outer.submit().token
    assert [context.task.name for context in found] == ["inner", "outer", "inner", "outer"]
    assert (found[3].token, found[3].deliveries, found[3].fencing) == (token, 2, 2)
    assert found[1].error == "" and found[3].error.startswith("ValueError: again")


def test_progress_is_told_by_the_context_and_by_what_is_yielded() -> None:
    app = zmqueue.App(codecs=[Backwards()])

    @app.task(attempts=2)
    def count(to: int) -> Generator[int, None, str]:
        yield from range(to)
        if zmqueue.current().deliveries == 1:
            raise ValueError("once more")
        zmqueue.current().progress({"almost": True})
        return "counted"

    @app.task
    async def slowly(to: int) -> AsyncIterator[int]:
        for number in range(to):
            await asyncio.sleep(0)
            yield number

    with app.eager() as eager:
        ticket = count.submit(2)
        assert assert_type(ticket.result(), str) == "counted"
        events = [(event.index, event.kind, event.data, event.delivery) for event in ticket.stream(after=1)]
        assert events == [(2, "progress", 1, 1), (3, "progress", 0, 2), (4, "progress", 1, 2),
                          (5, "progress", {"almost": True}, 2), (6, "result", "counted", 0)]
        told = eager.requests[ticket.token].told[-1][1]
        assert isinstance(told, bytes) and told.startswith(b"zmqueue-body/1 json backwards\n")     # a secret as well
        assert [event.data for event in slowly.submit(3).stream()] == [0, 1, 2, None]


def test_a_coroutine_awaits_its_progress(app: zmqueue.App) -> None:
    @app.task(attempts=1)
    async def tell(wrongly: bool) -> None:
        if wrongly:
            zmqueue.current().progress("x")
        await zmqueue.current().aprogress("y")

    with app.eager():
        assert [event.data for event in tell.submit(False).stream()] == ["y", None]
        with pytest.raises(zmqueue.RequestFailed, match="await current"):
            tell.submit(True).result()


def test_what_a_result_queues_runs_where_the_result_holds(app: zmqueue.App) -> None:
    ran: list[str] = []

    @app.task(attempts=2)
    def order(number: int) -> str:
        zmqueue.current().then(mail.to(f"order {number}"), bill.to(number))
        if zmqueue.current().deliveries == 1:
            raise ValueError("not yet")
        return "ordered"

    @app.task(timeout=3.0)
    async def mail(text: str) -> None:
        await asyncio.sleep(0)
        ran.append(text)
        zmqueue.current().then(bill.to(0))

    @app.task
    def bill(number: int) -> None:
        ran.append(f"bill {number}")

    with app.eager() as eager:
        assert order.submit(7).result() == "ordered"
        assert ran == ["order 7", "bill 7", "bill 0"]
        ran.clear()
        asyncio.run(order.aio.submit(8))  # type: ignore[arg-type]
        assert ran == ["order 8", "bill 8", "bill 0"] and len(eager.requests) == 8
        with pytest.raises(ValidationError):
            bill.to("many")  # type: ignore[arg-type]


# --- what cannot be a task -------------------------------------------------------------------------------------------


def test_a_name_is_taken_once(app: zmqueue.App) -> None:
    @app.task
    def one() -> None: ...

    with pytest.raises(ValueError, match="has a task 'one' already"):
        app.task(name="one")(lambda: None)
    app.task(name="two")(lambda: None)
    assert sorted(app.tasks) == ["one", "two"]


def test_what_is_no_function_is_refused(app: zmqueue.App) -> None:
    class Thing:
        def __call__(self) -> None: ...

    with pytest.raises(TypeError, match="made of a function"):
        app.task(Thing())


forward = zmqueue.App()


@forward.task
def early(late: Late) -> int:
    return late.number


class Late(BaseModel):
    number: int


def test_annotations_may_name_what_stands_further_down() -> None:
    with forward.eager():
        assert early.submit(Late(number=3)).result() == 3


# --- middleware ------------------------------------------------------------------------------------------------------


class Noting(Middleware):
    """Writes down what it is told."""

    def __init__(self, name: str, told: list[str]) -> None:
        self._name, self._told = name, told

    def on_submit(self, outgoing: Outgoing) -> None:
        outgoing.headers[self._name] = str(outgoing.count)
        self._told.append(f"{self._name} submit {outgoing.task}")

    def before(self, context: Context) -> None:
        self._told.append(f"{self._name} before")

    def after(self, context: Context, result: Any, error: BaseException | None) -> None:
        self._told.append(f"{self._name} after {result!r} {error!r}")

    def on_retry(self, context: Context, error: BaseException) -> None:
        self._told.append(f"{self._name} retry {error!r}")

    def on_dead(self, context: Context, error: BaseException) -> None:
        self._told.append(f"{self._name} dead {error!r}")
        raise RuntimeError("what it raises changes nothing")


def test_middleware_stands_around_runs_like_brackets() -> None:
    told: list[str] = []
    app = zmqueue.App(middleware=[Noting("a", told), Noting("b", told)])

    @app.task(attempts=2)
    def fail(number: int) -> int:
        if number < 0:
            raise zmqueue.Reject("never")
        return 1 // number

    with app.eager() as eager:
        fail.submit(1)
        assert told == ["a submit fail", "b submit fail", "a before", "b before", "b after 1 None", "a after 1 None"]
        told.clear()
        tickets = fail.submit_many([(0,), (-1,)])
        with pytest.raises(zmqueue.RequestFailed, match="division"):
            tickets[0].result()
        error = "ZeroDivisionError('integer division or modulo by zero')"
        run = ["a before", "b before", f"b after None {error}", f"a after None {error}"]
        assert told[:12] == ["a submit fail", "b submit fail", *run, f"a retry {error}", f"b retry {error}", *run]
        assert told[12:14] == [f"a dead {error}", f"b dead {error}"]
        assert told[-2:] == ["a dead Reject('never')", "b dead Reject('never')"]
        assert {request.work.headers["a"] for request in list(eager.requests.values())[1:]} == {"2"}


def test_middleware_may_refuse_and_only_what_was_entered_is_left() -> None:
    told: list[str] = []

    class Refusing(Middleware):
        def before(self, context: Context) -> None:
            raise zmqueue.Reject("not today")

    app = zmqueue.App(middleware=[Noting("a", told), Refusing(), Noting("b", told)])

    @app.task
    def work() -> None:
        told.append("it ran")

    with app.eager(), pytest.raises(zmqueue.RequestFailed, match="not today"):
        work.submit().result()
    assert told == ["a submit work", "b submit work", "a before", "a after None Reject('not today')",
                    "a dead Reject('not today')", "b dead Reject('not today')"]


def test_coroutine_hooks_are_awaited_around_coroutine_tasks_and_refused_around_others() -> None:
    told: list[str] = []

    class Waiting(Middleware):
        async def before(self, context: Context) -> None:
            await asyncio.sleep(0)
            told.append("before")

        def on_submit(self, outgoing: Outgoing) -> Awaitable[None]:
            async def add() -> None:
                await asyncio.sleep(0)
                outgoing.headers["trace"] = "t"
            return add()

    app = zmqueue.App(middleware=[Waiting()])

    @app.task
    async def traced() -> str:
        return zmqueue.current().headers["trace"]

    async def submit() -> str:
        return await (await traced.aio.submit()).result()

    with app.eager():
        assert asyncio.run(submit()) == "t" and told == ["before"]
        with pytest.raises(TypeError, match="where nothing can be"):
            traced.submit()
    with pytest.raises(TypeError, match="before is a coroutine function, and task 'plain' is a plain function"):
        @app.task
        def plain() -> None: ...


def test_what_is_no_middleware_is_refused() -> None:
    class Half:
        def before(self, context: Context) -> None: ...

    with pytest.raises(TypeError, match="has no on_submit, after, on_retry, on_dead"):
        zmqueue.App(middleware=[Half()])  # type: ignore[list-item]


# --- payload hooks ---------------------------------------------------------------------------------------------------


class Deflate:
    """Compresses."""

    name = "deflate"

    def encode(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


class Backwards:
    """Anything else."""

    name = "backwards"

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


def echo(text: str, data: bytes) -> bytes | None:
    return data if text else None


def test_codecs_stand_around_arguments_and_results() -> None:
    app = zmqueue.App(codecs=[Deflate(), Backwards()])
    task = app.task(echo)
    with app.eager() as eager:
        ticket = task.submit("x" * 10_000, b"\xff")
        assert ticket.result() == b"\xff"
        body = eager.requests[ticket.token].work.encoded
        assert body is not None and body.kind == Kind.BYTES and len(body.data) < 200
        line, _, data = body.data.partition(b"\n")
        assert line == b"zmqueue-body/1 json deflate,backwards"
        assert json.loads(zlib.decompress(data[::-1]))["data"] == "_w=="
        assert eager.result(ticket.token).startswith(b"zmqueue-body/1 bytes deflate,backwards\n")
        assert task.submit("", b"").result() is None


def submitted_by(submitter: zmqueue.App, worker: zmqueue.App) -> TaskTicket[bytes | None]:
    """The ticket of a call that one app submitted and the other ran."""
    theirs = submitter.task(echo)
    ours = worker.task(echo)
    with worker.eager() as eager:
        ticket = eager.submit("default", theirs.call("a", b"\xff").body, headers=theirs._headers(1))
        return ours.ticket(ticket.token)


def test_a_plain_body_is_refused_where_codecs_are_and_taken_where_that_is_allowed() -> None:
    with pytest.raises(zmqueue.RequestFailed, match="this body is plain"):
        submitted_by(zmqueue.App(), zmqueue.App(codecs=[Deflate()])).result()
    assert submitted_by(zmqueue.App(), zmqueue.App(codecs=[Deflate()], accept_plain=True)).result() == b"\xff"


def test_a_body_of_a_codec_that_is_not_known_goes_back() -> None:
    with pytest.raises(zmqueue.ResultTimeout, match="encoded by 'deflate', which this app does not know"):
        submitted_by(zmqueue.App(codecs=[Deflate()]), zmqueue.App(codecs=[Backwards()])).result()


@pytest.mark.parametrize("name", ["", "a,b", "a b", "ä", "a\n"])
def test_a_codecs_name_can_stand_on_the_wire(name: str) -> None:
    codec = Deflate()
    codec.name = name
    with pytest.raises(ValueError, match="a codec's name"):
        zmqueue.App(codecs=[codec])
    with pytest.raises(ValueError, match="the same name"):
        zmqueue.App(codecs=[Deflate(), Deflate()])


# --- other versions --------------------------------------------------------------------------------------------------


def given(body: object, headers: dict[str, str], app: zmqueue.App) -> Any:
    """What comes of a message that somebody else made."""
    with app.eager() as eager:
        return eager.result(eager.submit("default", body, headers=headers).token)


def test_an_unknown_task_or_another_signature_goes_back_and_wrong_arguments_do_not(app: zmqueue.App) -> None:
    @app.task
    def inc(number: int) -> int:
        return number + 1

    version = inc.signature.version
    assert given({"number": 1}, {"zmqueue-task": "inc"}, app) == 2
    assert given('{"number": 1}', {"zmqueue-task": "inc", "zmqueue-signature": "another"}, app) == 2      # it fits
    for headers in {"zmqueue-task": "dec"}, {}:
        with pytest.raises(zmqueue.ResultTimeout, match="given back"):
            given({"number": 1}, headers, app)
    with pytest.raises(zmqueue.ResultTimeout, match=r"given back.*more: Extra inputs.*signature newer, here it is"):
        given({"number": 1, "more": 2}, {"zmqueue-task": "inc", "zmqueue-signature": "newer"}, app)
    for headers in {"zmqueue-task": "inc"}, {"zmqueue-task": "inc", "zmqueue-signature": version}:
        with pytest.raises(zmqueue.RequestFailed, match=r"none of 'inc': number: Input should be") as caught:
            given({"number": "x"}, headers, app)
        assert caught.value.deliveries == 1                  # not tried again
    for body in b"\xff", None, "no json":
        with pytest.raises(zmqueue.RequestFailed, match="Invalid JSON"):
            given(body, {"zmqueue-task": "inc"}, app)


@pytest.mark.parametrize(("fencing", "pause"), [(1, 0.5), (2, 1.0), (4, 4.0), (7, 30.0), (10_000, 30.0)])
def test_what_is_given_back_rests_longer_each_time(app: zmqueue.App, fencing: int, pause: float) -> None:
    token = make_id(time.time_ns() // 1_000_000, 0, bytes(15))
    work = zmqueue.Work({}, token_of(token), "default", {"zmqueue-task": "x"}, deliveries=1, fencing=fencing)
    with pytest.raises(zmqueue.GiveBack) as caught:
        find(app, work)
    assert caught.value.pause == pause


def test_what_nobody_understands_is_a_dead_letter_when_the_patience_ends() -> None:
    with pytest.raises(zmqueue.RequestFailed, match=r"no task 'x', and no worker that does came in 0 s"):
        given({}, {"zmqueue-task": "x"}, zmqueue.App(patience=0.0))
