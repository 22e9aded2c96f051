"""Several processes over one log say what one process would say that got the same events in the order of the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scoring.features.schema import REACH_US
from scoring.features.shared.errors import SharedLogUnavailable
from scoring.features.shared.shared_log import LogLimits, SharedLog
from tests.scoring.features.shared.members import Ledger, Member, Replay, Sent, columns, texts_of
from tests.servers.redis_server import client_of
from tests.strategies import cut, cuts, examples, transactions

STEPS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["commit", "fail", "later", "later"])), min_size=1, max_size=40)


@contextmanager
def members(url: str, ledger: Ledger, count: int = 3, **options) -> Iterator[list[Member]]:
    """Processes on an empty Redis."""
    with client_of(url) as client:
        client.flushdb()
    made = [Member(url, ledger, **options) for _ in range(count)]
    yield made
    for member in made:
        member.close()


def without_forgetting(bodies: list[dict]) -> list[dict]:
    """Return as many as lie so close together that no entity forgets one.

    What a batch that is retracted made an entity forget does not come back, until the state is rebuilt.
    """
    moments = [datetime.fromisoformat(body["occurred_at"]) for body in bodies]
    return [body for body, at in zip(bodies, moments, strict=True) if at - min(moments) <= timedelta(microseconds=REACH_US)]


def features_of(sent: Sent) -> dict[int, bytes]:
    return {key: row.tobytes() for key, row in zip(sent.keys, sent.rows.x, strict=True)}


@examples(20)
@given(bodies=transactions(min_size=4, max_size=40), sizes=cuts, steps=STEPS)
def test_features_are_those_of_one_store_in_the_order_of_the_log(redis_url, bodies, sizes, steps):
    """Commits, failures at once and failures after others went on, among three processes."""
    ledger = Ledger()
    with members(redis_url, ledger) as all_members:
        replay = Replay(all_members[0].log, all_members[0].state.membership.epoch)
        answers, open_batches = {}, []
        for batch, (who, end) in zip(cut(texts_of(bodies), sizes), steps * 40, strict=False):
            member = all_members[who]
            sent = member.send(batch)
            assert not sent.rows.degraded
            answers |= features_of(sent)
            if end == "later":
                open_batches.append((member, sent))
            else:
                getattr(member, end)(sent)
            if len(open_batches) > 3:
                finished, before = open_batches.pop(0)
                finished.fail(before) if who == 0 else finished.commit(before)
        replay.follow()
        assert answers == replay.features
        for member, sent in open_batches:
            member.fail(sent)
        assert all([member.tick() for member in all_members] and [member.tick() for member in all_members])
        # What is left is the same everywhere, and every failed batch is gone.
        probes = texts_of([body | {"transaction_id": f"probe-{i}"} for i, body in enumerate(bodies[-3:])])
        truth = Ledger(ledger.rows).state()
        said = {member.probe(probes) for member in all_members}
        assert len(said) == 1
        if without_forgetting(bodies) == bodies:
            assert said == {Member.probe(_Only(truth), probes)}


class _Only:
    """A member that is nothing but windows."""

    def __init__(self, local) -> None:
        self.state = self
        self.local = local
        self.tokens = local.tokens


FAULTS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["commit", "commit", "fail", "open", "answer_lost", "not_reached", "flush", "tick", "tick", "forgotten"]),
    ),
    min_size=5,
    max_size=40,
)


@examples(20)
@given(bodies=transactions(min_size=10, max_size=40), sizes=cuts, faults=FAULTS)
def test_after_any_faults_all_say_what_the_ledger_says(redis_url, bodies, sizes, faults):
    """Calls that do not arrive, answers that do not come back, a Redis that is emptied, a process that is taken for dead."""
    ledger, bodies = Ledger(), without_forgetting(bodies)
    with members(redis_url, ledger) as all_members, client_of(redis_url) as client:
        open_batches: list[tuple[Member, Sent]] = []
        for batch, (who, what) in zip(cut(texts_of(bodies), sizes), faults * 8, strict=False):
            member = all_members[who]
            if what == "flush":
                client.flushdb()
            elif what == "tick":
                member.tick()
            elif what == "forgotten" and member.state.membership:
                client.zadd("{risk:test}:beats", {str(member.state.membership.member): 1})
                all_members[(who + 1) % 3].tick()
            with fault(member.log, what):
                sent = member.send(batch)
            assert not (what in ("answer_lost", "not_reached") and not sent.rows.degraded)
            if what == "open":
                open_batches.append((member, sent))
            else:
                (member.fail if what == "fail" else member.commit)(sent)
        for i, (member, sent) in enumerate(open_batches):
            (member.fail if i % 2 else member.commit)(sent)
        for _ in range(4):
            ends = [member.tick() for member in all_members]
        assert all(ends)
        probes = texts_of([body | {"transaction_id": f"probe-{i}"} for i, body in enumerate(bodies[-4:])])
        assert {member.probe(probes) for member in all_members} == {Member.probe(_Only(ledger.state()), probes)}
        assert {member.state.event_count() for member in all_members} == {ledger.state().event_count()}
        assert not any(len(member.state._own) for member in all_members), "everything was told, nothing is kept"


@contextmanager
def fault(log: SharedLog, kind: str) -> Iterator[None]:
    """While this lasts, calls of this log do not reach Redis, or their answers do not come back."""
    real = log._hot.run

    def broken(*arguments):
        if kind == "answer_lost":
            real(*arguments)
        raise SharedLogUnavailable("as the test wants it")

    if kind in ("answer_lost", "not_reached"):
        log._hot.run = broken
    try:
        yield
    finally:
        log._hot.run = real


@examples(25)
@given(bodies=transactions(min_size=6, max_size=30), sizes=cuts)
def test_a_reader_far_behind_catches_up_in_small_replies(redis_url, bodies, sizes):
    ledger = Ledger()
    with members(redis_url, ledger, 2, limits=LogLimits(budget_ms=2_000.0, max_reply_bytes=300)) as (writer, reader):
        *batches, last = list(cut(texts_of(bodies), sizes))
        for batch in batches:
            writer.commit(writer.send(batch))
        sent = reader.send(last)
        assert not sent.rows.degraded
        alone = ledger.state()
        assert sent.rows.x.tobytes() == alone.process(columns(alone, last, sent.keys)).x.tobytes()
