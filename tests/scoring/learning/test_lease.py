"""Of all workers that try, one works on a run; one that comes back late can no longer register anything."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from scoring.learning import lease as leases
from scoring.learning import sweep
from scoring.learning.lease import MAX_ATTEMPTS, Heartbeat, LeaseLost, acquire, fenced, hand_back, renew
from scoring.learning.sweep import sweep_leases
from scoring.models import TrainingRun

pytestmark = pytest.mark.any_database


@pytest.fixture
def run() -> TrainingRun:
    run = TrainingRun.objects.create(slot="s-1", trigger="manual")
    TrainingRun.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    return run


@pytest.fixture
def sent(monkeypatch) -> list[int]:
    """The ids of the runs that were sent to a worker; the broker is what leaves the project here."""
    ids: list[int] = []
    monkeypatch.setattr(sweep, "nudge", lambda run_id: ids.append(run_id) or True)
    return ids


def expire() -> None:
    TrainingRun.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))


@pytest.mark.django_db
def test_a_waiting_run_is_taken_once(run):
    lease = acquire(run.pk)
    assert lease.token == 1
    assert acquire(run.pk) is None
    run.refresh_from_db()
    assert (run.state, run.attempts) == ("running", 1)
    assert run.started_at is not None
    assert run.lease_expires_at > timezone.now()


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["promoted", "refused", "skipped", "failed"])
def test_a_finished_run_is_not_taken(run, state):
    TrainingRun.objects.update(state=state, lease_expires_at=None)
    assert acquire(run.pk) is None


@pytest.mark.django_db
def test_an_expired_lease_goes_to_the_next_worker_with_a_larger_token(run):
    first = acquire(run.pk)
    started_at = TrainingRun.objects.get().started_at
    expire()
    second = acquire(run.pk)
    assert second.token == first.token + 1
    assert TrainingRun.objects.get().started_at == started_at


@pytest.mark.django_db
def test_renewing_keeps_the_lease_and_a_late_worker_cannot(run):
    first = acquire(run.pk)
    expire()
    assert renew(first)
    assert acquire(run.pk) is None
    expire()
    acquire(run.pk)
    assert not renew(first)


@pytest.mark.django_db
def test_a_late_worker_is_fenced_off_and_nothing_of_its_block_is_stored(run):
    late = acquire(run.pk)
    expire()
    acquire(run.pk)
    with pytest.raises(LeaseLost), fenced(late) as held:
        held.reason = "written by the late worker"
        held.save()
    assert TrainingRun.objects.get().reason == ""


@pytest.mark.django_db
def test_what_fails_inside_the_fence_is_rolled_back(run):
    lease = acquire(run.pk)
    with pytest.raises(RuntimeError), fenced(lease) as held:
        held.reason = "half done"
        held.save()
        raise RuntimeError
    assert TrainingRun.objects.get().reason == ""


@pytest.mark.django_db
def test_a_failed_attempt_waits_a_little_and_then_is_tried_again(run):
    hand_back(acquire(run.pk), ValueError("broken"))
    run.refresh_from_db()
    assert run.state == "pending"
    assert run.reason == "attempt 1 of 5 failed: ValueError: broken"
    assert acquire(run.pk) is None
    expire()
    assert acquire(run.pk).token == 2


@pytest.mark.django_db
def test_a_run_that_fails_too_often_has_failed(run):
    for _ in range(MAX_ATTEMPTS):
        expire()
        hand_back(acquire(run.pk), ValueError("broken"))
    run.refresh_from_db()
    assert run.state == "failed"
    assert run.finished_at is not None
    assert "attempt 5 of 5" in run.reason


@pytest.mark.django_db
def test_the_sweeper_sends_what_waits_and_what_was_abandoned(run, sent):
    abandoned = TrainingRun.objects.create(slot="s-2", trigger="manual")
    acquire(abandoned.pk)
    TrainingRun.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    assert sweep_leases() == [run.pk]
    TrainingRun.objects.filter(pk=abandoned.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert sweep_leases() == [run.pk, abandoned.pk]
    assert sent == [run.pk, run.pk, abandoned.pk]


@pytest.mark.django_db
def test_the_sweeper_leaves_a_run_that_was_created_just_now_to_its_own_message(sent):
    TrainingRun.objects.create(slot="s-3", trigger="manual")
    assert sweep_leases() == []


@pytest.mark.django_db
def test_the_sweeper_closes_a_run_whose_workers_all_died(run, sent):
    for _ in range(MAX_ATTEMPTS):
        expire()
        last = acquire(run.pk)
    expire()
    assert acquire(run.pk) is None
    assert sweep_leases() == []
    run.refresh_from_db()
    assert run.state == "failed"
    assert "after 5 attempts" in run.reason
    with pytest.raises(LeaseLost), fenced(last):
        pass


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_at_once_one_gets_the_run(run):
    together = threading.Barrier(6)

    def try_to_acquire(_):
        together.wait()
        try:
            return acquire(run.pk)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        leased = [lease for lease in pool.map(try_to_acquire, range(6)) if lease]
    assert len(leased) == 1
    run.refresh_from_db()
    assert (run.attempts, run.fencing_token) == (1, leased[0].token)


@pytest.mark.django_db(transaction=True)
def test_the_heartbeat_keeps_a_lease_beyond_its_length(run, settings):
    settings.RETRAIN_LEASE_SECONDS = 0.6
    lease = acquire(run.pk)
    with Heartbeat(lease) as heartbeat:
        time.sleep(1.5)
        heartbeat.check()
        assert acquire(run.pk) is None
    time.sleep(0.8)
    assert acquire(run.pk).token == lease.token + 1


@pytest.mark.django_db(transaction=True)
def test_the_heartbeat_notices_that_the_run_was_taken_over(run, settings):
    settings.RETRAIN_LEASE_SECONDS = 0.3
    with Heartbeat(acquire(run.pk)) as heartbeat:
        TrainingRun.objects.update(fencing_token=7)
        time.sleep(0.5)
        with pytest.raises(LeaseLost):
            heartbeat.check()


@pytest.mark.django_db(transaction=True)
def test_the_heartbeat_outlives_a_database_that_is_away_for_a_moment(run, settings):
    settings.RETRAIN_LEASE_SECONDS = 0.3
    answers = [OperationalError("away"), OperationalError("away")]

    def renew_after_two_failures(lease):
        if answers:
            raise answers.pop()
        return renew(lease)

    with Heartbeat(acquire(run.pk), renew_lease=renew_after_two_failures) as heartbeat:
        time.sleep(0.6)
        heartbeat.check()
    assert not answers


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_hangs_does_not_keep_its_run_for_ever(run, settings, monkeypatch):
    settings.RETRAIN_LEASE_SECONDS = 0.3
    monkeypatch.setattr(leases, "MAX_WORK_SECONDS", 0.0)
    with Heartbeat(acquire(run.pk)) as heartbeat:
        time.sleep(0.6)
        with pytest.raises(LeaseLost):
            heartbeat.check()
        assert acquire(run.pk) is not None
