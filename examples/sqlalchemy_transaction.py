"""Submit inside a database transaction: the call is queued if and only if the transaction commits. One program.

A row of an outbox table is written with everything else; a relay submits it and deletes the row. The id under which it
is submitted stands in the row before the first attempt: an attempt whose answer was lost is repeated, and stored once.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import zmqueue

app = zmqueue.App(queue="mails")


class Base(DeclarativeBase):
    """The tables."""


class Order(Base):
    """What the application is about."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


class Outgoing(Base):
    """A call that is to be submitted."""

    __tablename__ = "outgoing"
    id: Mapped[int] = mapped_column(primary_key=True)
    arguments: Mapped[str]
    token: Mapped[str | None]              # under which it is submitted, from the first attempt on


@app.task
def confirm(order: int, text: str) -> str:
    return f"order {order} is confirmed: {text}"


def place(session: Session, text: str, *, fails: bool = False) -> None:
    """Within one transaction: the order, and the call that follows from it."""
    with session.begin():
        order = Order(text=text)
        session.add(order)
        session.flush()
        session.add(Outgoing(arguments=json.dumps({"order": order.id, "text": text})))
        if fails:
            raise ValueError("the card was refused")


def relay(session: Session, *, dies: bool = False) -> list[str]:
    """Submit what waits. Run it again and again, in as many processes as you like; `dies`: the answer gets lost."""
    tokens = []
    for row in session.scalars(select(Outgoing).order_by(Outgoing.id)):
        if row.token is None:
            row.token = app.client.new_id()
            session.commit()                             # before the first attempt
        try:
            confirm.options(id=row.token).submit(**json.loads(row.arguments))
        except zmqueue.IdTooOld:                         # an attempt more than an hour ago: was it stored?
            try:
                app.client.status(row.token)
            except zmqueue.UnknownToken:
                row.token = None                         # it was not: anew at the next look
                session.commit()
                continue
        tokens.append(row.token)
        if dies:
            session.rollback()
            return tokens
        session.delete(row)
        session.commit()
    return tokens


def main(folder: Path) -> None:
    engine = create_engine(f"sqlite:///{folder / 'shop.db'}")
    Base.metadata.create_all(engine)
    with Session(engine) as session, app, app.worker():
        place(session, "a bicycle")
        try:
            place(session, "a yacht", fails=True)
        except ValueError as error:
            print("rolled back:", error)
        first = relay(session, dies=True)                # submitted, but the row is still there
        second = relay(session)                          # submitted again under the same id
        print("stored once:", first == second)
        print(confirm.ticket(second[0]).result())
        print("left:", len(session.scalars(select(Outgoing)).all()))
    engine.dispose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, zmqueue.Node(Path(name) / "node", listen="tcp://127.0.0.1:0",
                                                             found=True) as node:
        os.environ["ZMQUEUE_SEEDS"] = node.endpoint
        main(Path(name))
