"""The load: threads that send payments over kept-alive connections, each call between its two lines in the journal."""

from __future__ import annotations

import hashlib
import http.client
import random
import threading
import time
from collections import deque
from collections.abc import Sequence

import msgspec

from tests.chaos.journal import OK, REFUSED, UNKNOWN, Answer, JournalWriter
from tests.chaos.payments import Item, Payments

SINGLE, BATCH = "/api/v1/decisions", "/api/v1/decisions/batch"
TIMEOUT_S = 3.0
# The pause between two calls of a thread: closed-loop load that leaves the machine's cores to the processes under test.
THINK_S = 0.004
# At most this long after a call that brought nothing.
AWAY_S = 0.1
# What a call is, with its share; the rest are payments that were never sent before, one by one.
BATCHES, REPEATS, CONFLICTS, REFUSALS = 0.20, 0.10, 0.02, 0.01
LARGEST_BATCH = 40
# How many of the latest payments may be repeated, and how many calls with an unknown end wait to be repeated.
REMEMBERED, WAITING = 4_000, 400


class Load:
    """Some clients of one server, until they are told to stop.

    Args:
        port: where to send; a proxy in front of the server, as a rule.
        journal: gets every call before and after.
        seed: what is sent follows from it, when does not: that depends on the answers.
    """

    def __init__(self, port: int, key: str, journal: JournalWriter, payments: Payments, *, seed: int, clients: int = 6) -> None:
        self.port, self.key, self.journal, self.payments = port, key, journal, payments
        # Appending to a deque is one step in Python; all threads draw from these.
        self.sent: deque[Item] = deque(maxlen=REMEMBERED)
        self.unknown: deque[Item] = deque(maxlen=WAITING)
        self.running = threading.Event()
        self.stopping = threading.Event()
        self.failures: list[BaseException] = []
        self.epoch = 0
        self._answered: dict[int, int] = {}
        self._count = threading.Lock()
        self._clients = [_Client(self, number, random.Random(f"{seed}-{number}")) for number in range(clients)]

    @property
    def acknowledged(self) -> int:
        """How many payments were answered with a decision so far."""
        return sum(self._answered.values())

    def begin_epoch(self) -> None:
        """What is sent from now on counts as progress."""
        self.epoch += 1

    def progress(self) -> int:
        """Return how many payments were answered of those that were sent since the epoch began."""
        return self._answered.get(self.epoch, 0)

    def count(self, epoch: int, answers: Sequence[Answer]) -> None:
        """Count the answers to a call that began in `epoch`."""
        good = sum(answer.verdict == OK for answer in answers)
        with self._count:
            self._answered[epoch] = self._answered.get(epoch, 0) + good

    def start(self) -> None:
        self.running.set()
        for client in self._clients:
            client.start()

    def pause(self) -> None:
        """Return when no call is under way; `resume` goes on."""
        self.running.clear()
        for client in self._clients:
            client.idle.wait(2 * TIMEOUT_S)

    def resume(self) -> None:
        self.running.set()

    def stop(self) -> None:
        """End all threads.

        Raises:
            RuntimeError: a thread failed or does not end; the journal is then not to be trusted.
        """
        self.stopping.set()
        self.running.set()
        for client in self._clients:
            client.join(4 * TIMEOUT_S)
            if client.is_alive():
                raise RuntimeError("a client does not end")
        if self.failures:
            raise RuntimeError("a client failed") from self.failures[0]


class _Client(threading.Thread):
    """One connection at a time."""

    def __init__(self, load: Load, number: int, chance: random.Random) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._load, self._number, self._chance = load, number, chance
        self._names = 0
        self._connection: http.client.HTTPConnection | None = None
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {load.key}"}
        self._away = False
        self.idle = threading.Event()

    def run(self) -> None:
        try:
            while not self._load.stopping.is_set():
                if not self._load.running.is_set():
                    self.idle.set()
                    self._load.running.wait()
                    continue
                self.idle.clear()
                self._call(self._next_items())
                time.sleep(2 * THINK_S * self._chance.random())
        except BaseException as error:
            self._load.failures.append(error)
        finally:
            self.idle.set()
            self._disconnect()

    # --- what to send ----------------------------------------------------------------------------------------------

    def _next_items(self) -> list[Item]:
        if self._away:  # one at a time until it is back, as a caller with a breaker would
            return self._repeat() or [self._fresh()]
        draw = self._chance.random()
        for share, items in (
            (REFUSALS, self._refused),
            (CONFLICTS, self._conflict),
            (REPEATS, self._repeat),
            (BATCHES, self._batch),
        ):
            if draw < share and (found := items()):
                return found
            draw -= share
        return [self._fresh()]

    def _fresh(self, kind: str = "p") -> Item:
        self._names += 1
        return Item(f"{kind}{self._number}-{self._names}")

    def _refused(self) -> list[Item]:
        return [self._fresh("bad")]

    def _conflict(self) -> list[Item]:
        sent = self._any_sent()
        return [Item(sent.name, 1 + self._chance.randrange(2))] if sent else []

    def _repeat(self) -> list[Item]:
        """A call whose end is not known comes first, as a bank would repeat it; else something sent before."""
        try:
            return [self._load.unknown.popleft()]
        except IndexError:
            sent = self._any_sent()
            return [sent] if sent else []

    def _batch(self) -> list[Item]:
        items = [self._fresh() for _ in range(self._chance.randint(2, LARGEST_BATCH))]
        if self._chance.random() < 0.5:
            items.append(self._chance.choice(items))  # twice in one call
        if sent := self._any_sent():
            items.insert(self._chance.randrange(len(items)), sent)
        return items

    def _any_sent(self) -> Item | None:
        sent = self._load.sent
        try:
            return sent[self._chance.randrange(len(sent))]
        except (ValueError, IndexError):
            return None  # nothing yet, or another thread made it shorter meanwhile

    # --- sending ---------------------------------------------------------------------------------------------------

    def _call(self, items: list[Item]) -> None:
        payments, journal = self._load.payments, self._load.journal
        bodies = [payments.body(item, shuffled=self._chance.random() < 0.1) for item in items]
        epoch = self._load.epoch
        call = journal.before([(item, payments.digest(item)) for item in items])
        answers = self._ask(bodies)
        journal.after(call, answers)
        self._load.count(epoch, answers)
        for item, answer in zip(items, answers, strict=True):
            if item.must_be_refused or item.variant:
                continue
            self._load.sent.append(item)
            if answer.verdict == UNKNOWN and self._chance.random() < 0.8:  # the rest is left to the checker
                self._load.unknown.append(item)

    def _ask(self, bodies: Sequence[bytes]) -> list[Answer]:
        single = len(bodies) == 1
        path, body = (SINGLE, bodies[0]) if single else (BATCH, b"[" + b",".join(bodies) + b"]")
        try:
            connection = self._connected()
            connection.request("POST", path, body, self._headers)
            response = connection.getresponse()
            status, raw = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self._disconnect()
            self._away = True
            time.sleep(AWAY_S * self._chance.random())
            return [Answer(UNKNOWN, type(error).__name__)] * len(bodies)
        self._away = status >= 500
        if response.will_close:
            self._disconnect()
        return [_single(status, raw)] if single else _batch(status, raw, len(bodies))

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._load.port, timeout=TIMEOUT_S)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class BatchResult(msgspec.Struct):
    """One result of the batch endpoint; the decision keeps its bytes."""

    status: int
    decision: msgspec.Raw = msgspec.Raw()
    replayed: bool = False


class BatchAnswer(msgspec.Struct):
    results: list[BatchResult]


def sha256(raw: bytes | msgspec.Raw) -> str:
    """Return the fingerprint of an answer's bytes."""
    return hashlib.sha256(raw).hexdigest()


def _single(status: int, raw: bytes) -> Answer:
    if status == 200:
        return Answer(OK, sha256(raw))
    return Answer(_verdict(status), str(status))


def _batch(status: int, raw: bytes, count: int) -> list[Answer]:
    if status != 200:
        return [Answer(_verdict(status), str(status))] * count
    try:
        results = msgspec.json.decode(raw, type=BatchAnswer).results
    except msgspec.MsgspecError:
        results = []
    if len(results) != count:
        return [Answer(UNKNOWN, "500")] * count  # an answer that makes no sense is as bad as none
    return [_single(result.status, bytes(result.decision)) for result in results]


def _verdict(status: int) -> str:
    """A 4xx says that nothing was decided; 429 and 5xx leave it open, as the decision may have been stored all the same."""
    return REFUSED if 400 <= status < 500 and status != 429 else UNKNOWN
