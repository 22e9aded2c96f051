"""One run: start everything, break it under load by the plan, stop the load, read everything back and judge it."""

from __future__ import annotations

import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from tests.chaos.checker import judge
from tests.chaos.client import Load
from tests.chaos.evidence import (
    Api,
    Database,
    EntityCounts,
    FeatureCheck,
    ReadFailed,
    check_features,
    files_below,
    find_card_numbers,
    gather,
)
from tests.chaos.faults import Faults
from tests.chaos.journal import JournalWriter, read_journal
from tests.chaos.payments import Payments, start_of_run
from tests.chaos.plan import Fault, plan_faults
from tests.chaos.stack import Stack
from tests.chaos.verdict import Verdict
from tests.servers.process import ServerUnavailable

# A fault is over when so many payments that were sent after it are acknowledged; if that takes longer than STALL_S, it
# never was.
PROGRESS = 5
STALL_S = 30.0
MOST_STALLS = 3
# Kinds after which the feature state is a new one. The load pauses before them, so that the old one can be looked at;
# after COMPARE_EVERY faults it is compared with one that is built afresh as well, which takes a start of the server.
ENDS_OF_STATE = ("web.kill", "web.terminate", "commit.web_killed")
COMPARE_EVERY = 50
logger = logging.getLogger(__name__)


class Stalled(RuntimeError):
    """The server decides nothing any more."""


def run_chaos(
    database: str,
    faults: int,
    seed: int,
    *,
    clients: int = 6,
    tell: Callable[[str], None] = lambda line: None,
    logs: Path | None = None,
) -> Verdict:
    """Carry out a run of its own from the first process to the last file.

    Args:
        tell: gets a line now and then on how far it is.
        logs: an existing directory that gets what each process has printed, for looking into a red run.

    Raises:
        ServerUnavailable: the processes could not even be started.
    """
    began = time.monotonic()
    stack = Stack(database)
    try:
        verdict = _Run(stack, faults, seed, clients, tell).carry_out()
    finally:
        if logs is not None:
            for name, content in stack.logs():
                (logs / f"{database}-{name}.log").write_bytes(content)
        stack.close()
    verdict.seconds = time.monotonic() - began
    return verdict


class _Run:
    def __init__(self, stack: Stack, faults: int, seed: int, clients: int, tell: Callable[[str], None]) -> None:
        self._stack, self._tell = stack, tell
        self._began = time.monotonic()
        self._plan = plan_faults(faults, seed, stack.database)
        self._verdict = Verdict(stack.database, seed, faults)
        self._payments = Payments(start_of_run())
        self._journal_file: Path = stack.data_dir.with_name(stack.data_dir.name + ".journal")
        self._journal = JournalWriter(self._journal_file, base=self._payments.base, seed=seed)
        self._faults = Faults(stack, seed)
        self._load = Load(stack.proxies["web"].port, stack.key, self._journal, self._payments, seed=seed, clients=clients)
        self._recovery: dict[str, list[float]] = defaultdict(list)
        self._checks: list[FeatureCheck] = []
        self._counts = EntityCounts(Database(stack.direct_url))
        self._next_comparison = COMPARE_EVERY

    def carry_out(self) -> Verdict:
        try:
            self._stack.start()
            self._phase("the server is ready")
            self._load.start()
            try:
                self._break_things()
                self._phase("all faults happened")
                self._look_at_features(compare=True)
            finally:
                self._load.stop()
                self._journal.close()
            self._phase("the load has ended")
            self._read_back()
            self._phase("everything is read back")
        except (ReadFailed, ServerUnavailable, Stalled, RuntimeError, OSError) as error:
            logger.exception("the run could not be finished")
            self._verdict.problems.append(f"the run could not be finished: {error}")
        finally:
            self._journal_file.unlink(missing_ok=True)
        self._note()
        return self._verdict

    def _phase(self, what: str) -> None:
        self._tell(f"{self._stack.database}: {what} ({time.monotonic() - self._began:.1f} s)")

    # --- breaking --------------------------------------------------------------------------------------------------

    def _break_things(self) -> None:
        self._wait_for_progress("the start")
        before: Fault | None = None
        for fault in self._plan:
            if before is not None and not fault.hurried:
                self._recover_from(before)
                if fault.kind.startswith(ENDS_OF_STATE):
                    self._check_features(fault.number)
            self._stack.look_after()
            time.sleep(fault.delay_s)
            self._faults.carry_out(fault)
            self._verdict.faults += 1
            self._verdict.kinds[fault.kind] += 1
            before = fault
        if before is not None:
            self._recover_from(before)

    def _recover_from(self, fault: Fault) -> None:
        began = time.monotonic()
        try:
            self._wait_for_progress(f"fault {fault.number} ({fault.kind})")
        except Stalled as error:
            self._verdict.problems.append(str(error))
            if sum("no decision within" in problem for problem in self._verdict.problems) >= MOST_STALLS:
                raise
            self._stack.mend()
            self._stack.parts["web"].kill()
            self._wait_for_progress("a restart by force")
        self._recovery[fault.kind].append(time.monotonic() - began)

    def _wait_for_progress(self, after: str) -> None:
        """Return when decisions are made again.

        Raises:
            Stalled: none is for STALL_S.
        """
        self._load.begin_epoch()
        deadline = time.monotonic() + STALL_S
        while self._load.progress() < PROGRESS:
            if self._load.failures:
                raise RuntimeError("a client failed") from self._load.failures[0]
            if time.monotonic() > deadline:
                raise Stalled(f"no decision within {STALL_S:g} s after {after}:\n{self._stack.web.log_end()}")
            self._stack.look_after()
            time.sleep(0.005)

    # --- reading back ----------------------------------------------------------------------------------------------

    def _check_features(self, number: int) -> None:
        compare = number >= self._next_comparison
        self._look_at_features(compare=compare)
        self._load.resume()
        if compare:
            self._next_comparison = number + COMPARE_EVERY
            self._phase(f"{number} faults, {self._load.acknowledged} payments acknowledged")
        self._wait_for_progress("a check of the features")

    def _look_at_features(self, *, compare: bool) -> None:
        """Pause the load, and note whether the state that lived through the faults is what the ledger gives."""
        self._load.pause()
        self._stack.mend()
        self._stack.start()
        api = Api(self._stack.web.port, self._stack.key)
        try:
            # What is in doubt after a lost commit is settled by the next decision; a repeated one changes nothing.
            api.decide([self._payments.body(item) for item in list(self._load.sent)[-1:]])
            restart = self._restart_web if compare else None
            self._checks.append(check_features(self._payments, self._counts, api, restart))
        finally:
            api.close()

    def _restart_web(self) -> None:
        self._stack.parts["web"].kill()
        self._stack.look_after()
        self._stack.wait_ready()

    def _read_back(self) -> None:
        verdict, stack = self._verdict, self._stack
        journal = read_journal(self._journal_file)
        verdict.requests, verdict.payments = journal.calls, len(journal.told)
        verdict.acknowledged, verdict.unknown = len(journal.acknowledged), len(journal.open_items)
        if journal.unexpected:
            verdict.problems.append(f"statuses that no caller should see: {journal.unexpected}")
        stack.mend()
        stack.start()
        api = Api(stack.web.port, stack.key)
        try:
            evidence = gather(journal, Database(stack.direct_url), api)
        finally:
            api.close()
        verdict.problems += api.problems
        evidence.features = self._checks
        evidence.card_numbers = find_card_numbers(self._places())
        verdict.findings = judge(journal, evidence).as_dict()

    def _places(self):
        yield from files_below(self._stack.data_dir)
        yield from self._stack.logs()
        if self._stack.postgres is not None:
            yield from files_below(self._stack.postgres.directory / "data")
        yield "redis", self._stack.redis_dump()

    def _note(self) -> None:
        notes = self._verdict.notes
        times = {kind: (statistics.median(found), max(found)) for kind, found in sorted(self._recovery.items())}
        notes["until decisions are made again, median and longest [s]"] = ", ".join(
            f"{kind} {middle:.2f} {longest:.2f}" for kind, (middle, longest) in times.items()
        )
        notes["faults whose moment was not met, and that came at another"] = self._faults.missed
        rebuilt = sum(check.rebuilt is not None for check in self._checks)
        notes["checks of the feature state"] = f"{len(self._checks)}, {rebuilt} of them against one that was built afresh"
        if exits := self._stack.own_exits():
            notes["processes that ended by themselves, and were started again"] = dict(exits)
