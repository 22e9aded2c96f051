"""What happens to a shared state when Redis or a process fails: degraded meanwhile, and right again afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest

import scoring.features.shared.state as shared_state
from scoring.features.shared.entry import EntryKind, entry_of
from scoring.features.shared.errors import SharedLogLost, SharedLogUnavailable
from scoring.features.shared.link import Link
from scoring.features.shared.shared_log import LogLimits
from scoring.features.shared.state import Following
from tests.scoring.features.shared.members import Clock, Ledger, Member, columns, now, texts_of
from tests.servers.redis_server import RedisServer
from tests.strategies import START


def payments(*numbers: int) -> list[bytes]:
    """Payments with the same card, a minute apart."""
    common = {"amount_minor": 1_000, "currency": "EUR", "type": "card_payment", "channel": "pos"}
    common |= {"card_id": "k0", "merchant_id": "m0"}
    return texts_of(
        [common | {"transaction_id": f"t{n}", "occurred_at": (START + timedelta(minutes=n)).isoformat()} for n in numbers]
    )


class Cluster:
    """Members on one Redis and one ledger."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.ledger = Ledger()
        self.members: list[Member] = []

    def start(self, **options) -> Member:
        self.members.append(Member(self.server.url, self.ledger, **options))
        return self.members[-1]

    def decide(self, member: Member, *numbers: int) -> bool:
        """Decide and commit; return whether the features were degraded."""
        sent = member.send(payments(*numbers))
        member.commit(sent)
        return sent.rows.degraded

    def settle(self) -> bool:
        """Let some seconds pass; return whether all members follow the log."""
        for _ in range(4):
            ends = [member.tick() for member in self.members]
        return all(ends)

    def assert_all_say_what_the_ledger_says(self) -> None:
        assert self.settle()
        truth = self.ledger.state()
        probe = payments(10_000)
        for member in self.members:
            assert member.state.event_count() == truth.event_count()
            assert member.probe(probe) == truth.process(columns(truth, probe, [0], remember=False)).x.tobytes()


@pytest.fixture
def server(start_redis) -> RedisServer:
    return start_redis()


@pytest.fixture
def cluster(server) -> Iterator[Cluster]:
    made = Cluster(server)
    yield made
    for member in made.members:
        member.close()


# --- Redis ---------------------------------------------------------------------------------------------------------------


def test_killed_redis_that_comes_back_empty(cluster):
    one, two = cluster.start(), cluster.start()
    assert not cluster.decide(one, 0, 1) and not cluster.decide(two, 2)
    cluster.server.kill()
    assert cluster.decide(one, 3) and cluster.decide(two, 4), "decisions go on, and say that they are degraded"
    cluster.server.restart()
    assert cluster.decide(one, 5), "the log is another one now"
    cluster.assert_all_say_what_the_ledger_says()
    assert not cluster.decide(one, 6) and not cluster.decide(two, 7)
    assert one.state.counters.rejoins == 2 and two.state.counters.rejoins == 2


def test_killed_redis_that_comes_back_with_older_data(cluster):
    one, two = cluster.start(), cluster.start()
    cluster.decide(one, 0)
    with cluster.server.client() as client:
        client.save()
    for number in range(1, 4):
        cluster.decide(one, number)
    two.tick()
    cluster.server.kill()
    cluster.server.restart()
    epoch = one.state.membership.epoch
    with cluster.server.client() as client:
        assert client.hget("{risk:test}:meta", "epoch") == epoch and int(client.hget("{risk:test}:meta", "head")) < 4
    assert cluster.decide(one, 4) and cluster.decide(two, 5)
    cluster.assert_all_say_what_the_ledger_says()
    assert one.state.membership.epoch == two.state.membership.epoch != epoch


def test_older_data_that_others_have_added_to_meanwhile(cluster):
    """The head alone would not show it: by the time the second process asks, the log is as long as it was."""
    one, two = cluster.start(), cluster.start()
    with cluster.server.client() as client:
        client.save()
    cluster.decide(one, 0)
    cluster.server.kill()
    cluster.server.restart()
    two.clock.now += 61
    assert not cluster.decide(two, 1), "this one knows nothing of what was lost"
    assert cluster.decide(one, 2)
    cluster.assert_all_say_what_the_ledger_says()


def test_a_redis_that_hangs_costs_no_rebuild(cluster):
    """What was sent meanwhile is in the log once, whether it had arrived or not."""
    one, two = cluster.start(limits=LogLimits(budget_ms=50.0)), cluster.start()
    os.kill(cluster.server.pid, signal.SIGSTOP)
    try:
        assert cluster.decide(one, 0)
        one.clock.now += 2
        assert cluster.decide(one, 1)
    finally:
        os.kill(cluster.server.pid, signal.SIGCONT)
    cluster.assert_all_say_what_the_ledger_says()
    assert not cluster.decide(two, 2)
    assert one.state.counters.rejoins == 1 and one.state.waiting_entries == 0
    head, _, entries = one.log.read(one.state.membership.epoch, 0)
    assert head == len(entries) == 3


def test_an_emptied_redis_keeps_what_is_not_committed_yet(cluster):
    one, two = cluster.start(), cluster.start()
    open_batch = one.send(payments(0))
    with cluster.server.client() as client:
        client.flushall()
    assert cluster.decide(two, 1)
    assert cluster.settle()
    one.commit(open_batch)
    assert not cluster.decide(two, 2)
    cluster.assert_all_say_what_the_ledger_says()


@pytest.mark.parametrize("key", ["log", "meta", "members", "beats"])
def test_a_part_of_the_log_that_was_evicted(cluster, key):
    one, two = cluster.start(), cluster.start()
    cluster.decide(one, 0)
    with cluster.server.client() as client:
        client.delete(f"{{risk:test}}:{key}")
    cluster.decide(one, 1), cluster.decide(two, 2)
    cluster.assert_all_say_what_the_ledger_says()
    assert not cluster.decide(one, 3) and not cluster.decide(two, 4)


def test_scripts_that_redis_forgot_are_sent_again(cluster):
    one = cluster.start()
    with cluster.server.client() as client:
        client.script_flush()
    assert not cluster.decide(one, 0)


def test_a_full_redis_degrades(cluster):
    one = cluster.start()
    with cluster.server.client() as client:
        client.config_set("maxmemory", "1")
        assert cluster.decide(one, 0)
        client.config_set("maxmemory", "0")
    cluster.assert_all_say_what_the_ledger_says()


def test_without_redis_at_the_start(cluster):
    cluster.server.kill()
    one = cluster.start()
    assert one.state.following is Following.LOST
    assert cluster.decide(one, 0)
    cluster.server.restart()
    two = cluster.start()
    cluster.assert_all_say_what_the_ledger_says()
    assert not cluster.decide(two, 1) and not cluster.decide(one, 2)


# --- the log -------------------------------------------------------------------------------------------------------------


def test_a_process_that_was_overtaken_rebuilds(cluster):
    slow, quick = cluster.start(), cluster.start(limits=LogLimits(budget_ms=2_000, max_log_bytes=2_000))
    for number in range(20):
        assert not cluster.decide(quick, number)
    with cluster.server.client() as client:
        assert 1 <= client.llen("{risk:test}:log") < 10
        assert int(client.hget("{risk:test}:meta", "bytes")) <= 2_000
    assert cluster.decide(slow, 30)
    cluster.assert_all_say_what_the_ledger_says()
    assert quick.state.counters.rejoins == 1, "that is no one else's trouble"


def test_a_log_that_lost_what_is_not_settled_begins_anew_for_all(cluster):
    """A process that joined it would know these neither from the ledger nor from the log."""
    one = cluster.start(limits=LogLimits(budget_ms=2_000, max_log_bytes=1_000))
    open_batch = one.send(payments(0))
    for number in range(1, 10):
        cluster.decide(one, number)
    epoch = one.state.membership.epoch
    two = cluster.start()
    assert two.state.membership.epoch != epoch
    one.commit(open_batch)
    cluster.assert_all_say_what_the_ledger_says()


def test_a_process_that_joins_knows_what_is_committed_and_what_is_open(cluster):
    one = cluster.start()
    cluster.decide(one, 0, 1)
    undone, done = one.send(payments(2, 3)), one.send(payments(4))
    two = cluster.start()
    assert two.state.event_count() == one.state.event_count()
    one.fail(undone)
    one.commit(done)
    cluster.assert_all_say_what_the_ledger_says()


def test_an_entry_of_another_release_is_not_guessed_at(cluster):
    one, two = cluster.start(), cluster.start()
    one.state._queue(entry_of(EntryKind.EVENTS, [1], [b'{"new":"form"}'])).settled = True
    assert one.tick()
    assert cluster.decide(two, 0)
    cluster.assert_all_say_what_the_ledger_says()


def test_what_waits_for_the_log_is_bounded(cluster, monkeypatch):
    monkeypatch.setattr(shared_state, "MAX_WAITING_BYTES", 2_000)
    one, two = cluster.start(), cluster.start()
    cluster.server.kill()
    open_batch = one.send(payments(0))
    for number in range(1, 20):
        cluster.decide(one, number)
    assert one.state._own.bytes < 3_000
    cluster.server.restart()
    cluster.decide(two, 30)
    one.commit(open_batch)
    cluster.assert_all_say_what_the_ledger_says()


# --- processes -----------------------------------------------------------------------------------------------------------


def forget_beats(cluster: Cluster, *members: Member) -> None:
    """Make it seem that these were silent for longer than a member may be."""
    with cluster.server.client() as client:
        client.zadd("{risk:test}:beats", {str(member.state.membership.member): 1 for member in members})


def test_what_a_dead_process_left_open_is_settled_by_the_ledger(cluster):
    dead, one, two = cluster.start(), cluster.start(), cluster.start()
    cluster.decide(dead, 0)
    stored, undone = dead.send(payments(1)), dead.send(payments(2, 3))
    dead.store(stored)
    cluster.members.remove(dead)
    dead.close()
    cluster.decide(one, 4)
    assert one.state.event_count() > cluster.ledger.state().event_count()
    forget_beats(cluster, dead)
    cluster.assert_all_say_what_the_ledger_says()
    assert one.state.counters.settled_members + two.state.counters.settled_members == 1, "one survivor did it, once"
    head, _, entries = one.log.read(one.state.membership.epoch, 0)
    assert head == 5 and len(undone.keys) == 2


def test_a_survivor_that_dies_while_it_settles_is_replaced(cluster):
    dead, one, two = cluster.start(), cluster.start(), cluster.start()
    dead.send(payments(0))
    forget_beats(cluster, dead)
    cluster.members.remove(dead)
    assert one.log.claim(one.state.membership, dead.state.membership.member) is not None
    assert two.log.claim(two.state.membership, dead.state.membership.member) is None, "another one is at it"
    with cluster.server.client() as client:
        client.hset("{risk:test}:members", f"{dead.state.membership.member}:until", 1)
    taken = two.log.claim(two.state.membership, dead.state.membership.member)
    assert taken is not None and taken.low == 1
    assert one.log.claim(one.state.membership, dead.state.membership.member) is None
    cluster.assert_all_say_what_the_ledger_says()


def test_what_a_process_decided_without_redis_before_it_died_is_not_lost(cluster):
    dead, one = cluster.start(), cluster.start()
    dead.log._hot.run = dead.log._patient.run = unreachable
    sent = dead.send(payments(0))
    assert sent.rows.degraded
    dead.store(sent)
    cluster.members.remove(dead)
    forget_beats(cluster, dead)
    cluster.assert_all_say_what_the_ledger_says()
    assert one.state.event_count() > 0


def unreachable(*_):
    raise SharedLogUnavailable("as the test wants it")


def test_a_paused_process_is_fenced_and_its_late_commit_is_told(cluster):
    """Others took it for dead and its batch for undone; then it goes on and commits."""
    paused, one = cluster.start(), cluster.start()
    open_batch = paused.send(payments(0))
    forget_beats(cluster, paused)
    one.tick()
    assert one.tick() and one.state.event_count() == 0, "the ledger does not have it"
    paused.commit(open_batch)
    refused = paused.send(payments(1))
    assert refused.rows.degraded and paused.state.following is Following.LOST, "its membership is refused"
    paused.fail(refused)
    cluster.assert_all_say_what_the_ledger_says()
    assert one.state.event_count() > 0


def test_a_process_that_was_thought_dead_takes_its_open_batch_along(cluster):
    """A retraction by a survivor must not come after the batch was sent again."""
    paused, one = cluster.start(), cluster.start()
    open_batch = paused.send(payments(0))
    forget_beats(cluster, paused)
    paused.state.lose(SharedLogLost("as the test wants it"))
    assert paused.tick(), "it was back before anybody took it for dead"
    one.tick(2)
    paused.commit(open_batch)
    paused.tick(2), one.tick(2)
    assert one.state.event_count() == cluster.ledger.state().event_count() > 0
    assert one.state.counters.settled_members == 0


def test_a_process_joins_again_when_others_have_settled_what_it_left_open(cluster):
    paused, one = cluster.start(), cluster.start()
    open_batch = paused.send(payments(0))
    old = paused.state.membership
    forget_beats(cluster, paused)
    assert one.log.claim(one.state.membership, old.member) is not None
    paused.tick()
    assert not paused.tick() and paused.state.membership is old, "one is at it"
    with cluster.server.client() as client:
        client.hset("{risk:test}:members", f"{old.member}:until", 1)
    assert paused.tick() and paused.state.membership is not old, "and never came to an end"
    paused.commit(open_batch)
    paused.tick(2), one.tick(2)
    assert one.state.event_count() == cluster.ledger.state().event_count() > 0


def test_a_rebuild_that_fails_leaves_no_second_membership(cluster):
    one, two = cluster.start(), cluster.start()
    open_batch = one.send(payments(0))
    one.state.lose(SharedLogLost("as the test wants it"))

    def failing():
        raise OSError("the database is away")

    one.rejoiner._rebuild = failing
    for _ in range(3):
        with pytest.raises(OSError):
            one.tick()
        one.send(payments(1)), one.fail(one.send(payments(2)))
    with cluster.server.client() as client:
        assert client.zcard("{risk:test}:beats") == 2
    one.rejoiner._rebuild = cluster.ledger.state
    one.tick()
    one.commit(open_batch)
    assert two.tick() and one.state.counters.rejoins == 2


def test_a_commit_that_ends_after_its_process_is_told_by_the_survivor(cluster):
    dead, one = cluster.start(), cluster.start()
    sent = dead.send(payments(0))
    forget_beats(cluster, dead)
    cluster.members.remove(dead)
    one.tick(2)
    one.tick(2)
    assert one.state.event_count() == 0
    dead.store(sent)  # the database was still at it
    cluster.assert_all_say_what_the_ledger_says()
    assert one.state.event_count() > 0


def test_a_process_that_leaves_in_order_is_not_mourned(cluster):
    one, two = cluster.start(), cluster.start()
    cluster.decide(one, 0)
    cluster.members.remove(one)
    one.state.leave()
    assert cluster.settle() and two.state.counters.settled_members == 0
    with cluster.server.client() as client:
        assert client.zcard("{risk:test}:beats") == 1 and client.hlen("{risk:test}:members") == 4


def test_a_process_that_leaves_something_open_is_settled_by_others(cluster):
    one, two = cluster.start(), cluster.start()
    one.send(payments(0))
    one.state.leave()
    cluster.members.remove(one)
    forget_beats(cluster, one)
    cluster.assert_all_say_what_the_ledger_says()
    assert two.state.counters.settled_members == 1


# --- the breaker ---------------------------------------------------------------------------------------------------------


def test_a_redis_that_is_away_is_asked_once_a_second_not_once_a_batch(cluster, monkeypatch):
    clock = Clock()
    one = cluster.start(clock=clock)
    cluster.server.kill()
    calls = []
    real = Link.run
    monkeypatch.setattr(Link, "run", lambda self, name, *rest: (calls.append(name), real(self, name, *rest))[1])
    for number in range(100):
        assert cluster.decide(one, number)
    assert calls == ["exchange"] * 2, "one failure may be a hiccup"
    for second in range(5):
        clock.now += 1.01
        cluster.decide(one, 300 + second), cluster.decide(one, 400 + second)
    assert calls == ["exchange"] * 7
    cluster.server.restart()
    cluster.assert_all_say_what_the_ledger_says()


def test_a_failed_rejoin_is_tried_less_and_less_often(cluster):
    one = cluster.start()
    with cluster.server.client() as client:
        client.flushall()
    cluster.decide(one, 0)
    attempts = []

    def failing():
        attempts.append(one.clock.now)
        with cluster.server.client() as client:
            client.flushall()  # lost again while it rebuilds
        return cluster.ledger.state()

    one.rejoiner._rebuild = failing
    for _ in range(200):
        one.clock.now += 1
        assert not one.rejoiner.rejoin_if_lost(now)
    gaps = np.diff(attempts)
    assert gaps[0] <= 2 and gaps[-1] >= 60 and len(attempts) < 12
    one.rejoiner._rebuild = cluster.ledger.state
    cluster.assert_all_say_what_the_ledger_says()
