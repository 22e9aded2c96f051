"""Reading everything back at the end: from the database in plain SQL, from the API, and from the files."""

from __future__ import annotations

import http.client
import json
import random
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psycopg

from tests.chaos.client import BATCH, SINGLE, BatchAnswer, sha256
from tests.chaos.faults import database_file
from tests.chaos.journal import Journal
from tests.chaos.payments import PLANTED_CARD_NUMBERS, Item, Payments

PAGE, ASKED_AT_ONCE = 200, 200
# How many answers are read back one by one as well, with a single request and by their decision id.
SAMPLE = 200
DRAIN_SECONDS = 60.0
RECOVERY_SECONDS = 30.0
# How often a final read is tried again: the server may just be starting.
ATTEMPTS = 3


class ReadFailed(RuntimeError):
    """The final read could not be finished, so that nothing can be said."""


class Row(NamedTuple):
    """One row of the decision table."""

    seq: int
    decision_id: str
    transaction_id: str
    outcome: int


class Head(msgspec.Struct):
    """What the checker looks at in an answer, beside its bytes."""

    decision_id: str | None
    transaction_id: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What the API says about one item now; all but `status` only with 200."""

    status: int
    sha: str = ""
    replayed: bool = False
    decision_id: str = ""
    outcome: str = ""


@dataclass(frozen=True)
class FeatureCheck:
    """The features of the probes, and the counts that the database gives for them at the same time.

    Attributes:
        lived: from the state that lived through the faults.
        rebuilt: from one that was built afresh from the ledger; None where the server was not restarted for it.
        counted: the features that can be counted in plain SQL, for the first of the probes.
    """

    lived: list[dict[str, float | None]]
    rebuilt: list[dict[str, float | None]] | None
    counted: list[dict[str, float]]


@dataclass
class Evidence:
    """All that was found, not yet judged.

    Attributes:
        rows: the decision table before the checker asked for anything; rows_after: when it was done.
        alerts: the seq of the decision of each alert; events: the decision ids that still wait in the outbox.
        replays: the answer to each acknowledged item, asked again in batches.
        singles: the same for a sample, asked one by one.
        conflicts: the status for each other body under an acknowledged id.
        asked: two answers in a row to each item whose end the client never learned.
        listed: the fingerprints of the answers in the API's list, by transaction id.
        details: by decision id, for the sample: the answer's fields as GET tells them, and as they were sent.
        features: one check each time that the load was paused for it.
        card_numbers: where a card number was found that was sent only to be refused.
    """

    rows: list[Row] = field(default_factory=list)
    rows_after: list[Row] = field(default_factory=list)
    alerts: list[int] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    replays: dict[Item, Reply] = field(default_factory=dict)
    singles: dict[Item, Reply] = field(default_factory=dict)
    conflicts: dict[Item, int] = field(default_factory=dict)
    asked: dict[Item, tuple[Reply, Reply]] = field(default_factory=dict)
    listed: dict[str, list[str]] = field(default_factory=dict)
    details: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    features: list[FeatureCheck] = field(default_factory=list)
    card_numbers: list[str] = field(default_factory=list)


# --- the database --------------------------------------------------------------------------------------------------


class Database:
    """Reads the tables without any code of the product."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, sql: str) -> list[tuple]:
        """Return the rows of a statement that has no parameters, once PostgreSQL has recovered from what was done to it.

        Raises:
            ReadFailed: it has not within RECOVERY_SECONDS.
        """
        if self._url.startswith("sqlite"):
            with closing(sqlite3.connect(database_file(self._url), timeout=60)) as connection:
                return connection.execute(sql).fetchall()
        deadline = time.monotonic() + RECOVERY_SECONDS
        while True:
            try:
                with psycopg.connect(self._url, connect_timeout=10) as connection:
                    return connection.execute(sql).fetchall()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise ReadFailed(f"the tables cannot be read for {RECOVERY_SECONDS:g} s: {error}") from error
                time.sleep(0.1)

    def rows(self) -> list[Row]:
        query = "SELECT seq, decision_id, transaction_id, outcome FROM scoring_decision ORDER BY seq"
        return [Row(*row) for row in self.query(query)]

    def alerts(self) -> list[int]:
        return [seq for (seq,) in self.query("SELECT decision_id FROM scoring_alert")]

    def events(self) -> list[str]:
        return [subject for (subject,) in self.query("SELECT subject FROM scoring_outboxevent")]

    def transactions_after(self, seq: int) -> list[tuple[int, str]]:
        """Return (seq, transaction as JSON) of the later rows."""
        return self.query(f'SELECT seq, "transaction" FROM scoring_decision WHERE seq > {int(seq)} ORDER BY seq')


class EntityCounts:
    """How many decisions each entity has, counted from the stored transactions; all of a run lie within 30 days."""

    KINDS = ("card", "merchant", "terminal")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._forget()

    def _forget(self) -> None:
        self._seq = 0
        self._counts: dict[str, Counter[str]] = {kind: Counter() for kind in self.KINDS}

    def features(self, probes: Sequence[dict], *, afresh: bool) -> list[dict[str, float]]:
        """Return the counts that the features of each probe should be; `afresh` reads the whole table again."""
        if afresh:
            self._forget()
        for seq, text in self._database.transactions_after(self._seq):
            transaction, self._seq = json.loads(text), seq
            for kind, counts in self._counts.items():
                if (entity := transaction.get(f"{kind}_id")) is not None:
                    counts[entity] += 1
        return [
            {f"{kind}.count.30d": float(counts[probe[f"{kind}_id"]]) for kind, counts in self._counts.items()} for probe in probes
        ]


# --- the API -------------------------------------------------------------------------------------------------------


class Api:
    """Asks the server on one kept-alive connection, past every proxy.

    Attributes:
        problems: what it had to work around: an idle server that refuses a batch which it takes in smaller parts.
    """

    def __init__(self, port: int, key: str) -> None:
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._at_once = ASKED_AT_ONCE
        self.problems: list[str] = []

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes, dict[str, str]]:
        """Return (status, body, headers in lower case), after some attempts where the answer is 503 or none at all.

        Every request of the checker may be repeated: it reads, or it asks for a decision that is made once.

        Raises:
            ReadFailed: no attempt brought an answer.
        """
        why = ""
        for attempt in range(ATTEMPTS):
            time.sleep(2.0 * attempt)
            try:
                self._http.request(method, path, body, self._headers)
                response = self._http.getresponse()
                raw = response.read()
            except (OSError, http.client.HTTPException) as error:
                self._http.close()
                why = f"{type(error).__name__}: {error}"
                continue
            if response.status < 500:
                return response.status, raw, {name.lower(): value for name, value in response.getheaders()}
            why = f"status {response.status}: {raw[:300]!r}"
        raise ReadFailed(f"{method} {path} has no answer after {ATTEMPTS} attempts: {why}")

    def decide(self, bodies: Sequence[bytes]) -> list[Reply]:
        """Ask in batches, in smaller ones where those are refused; one reply a body.

        Raises:
            ReadFailed: not even the smallest batches are answered completely.
        """
        replies: list[Reply] = []
        while len(replies) < len(bodies):
            chunk = bodies[len(replies) : len(replies) + self._at_once]
            try:
                replies += self._decide(chunk)
            except ReadFailed as error:
                if self._at_once < 10:
                    raise
                self.problems.append(f"an idle server does not decide on a batch of {len(chunk)}: {error}")
                self._at_once //= 4
        return replies

    def _decide(self, chunk: Sequence[bytes]) -> list[Reply]:
        why = ""
        for attempt in range(ATTEMPTS):
            time.sleep(1.0 * attempt)
            status, raw, _ = self.request("POST", BATCH, b"[" + b",".join(chunk) + b"]")
            if status != 200:
                raise ReadFailed(f"a batch of the final read is refused with {status}: {raw[:300]!r}")
            results = msgspec.json.decode(raw, type=BatchAnswer).results
            failed = [result.status for result in results if result.status >= 500]
            if len(results) == len(chunk) and not failed:
                return [_reply(result.status, bytes(result.decision), result.replayed) for result in results]
            why = f"{len(results)} results, {len(failed)} of them {sorted(set(failed))}"
        raise ReadFailed(f"a batch of {len(chunk)} is not answered completely after {ATTEMPTS} attempts: {why}")

    def decide_single(self, body: bytes) -> Reply:
        status, raw, headers = self.request("POST", SINGLE, body)
        return _reply(status, raw, headers.get("idempotent-replayed") == "true")

    def listed(self) -> Iterator[tuple[str, str]]:
        """Yield (transaction id, fingerprint) of every answer in the list of decisions, page by page."""
        cursor = ""
        while True:
            status, raw, _ = self.request("GET", f"{SINGLE}?limit={PAGE}{cursor}")
            if status != 200:
                raise ReadFailed(f"the list of decisions is answered with {status}")
            page = msgspec.json.decode(raw, type=_Page)
            for answer in page.decisions:
                yield msgspec.json.decode(answer, type=Head).transaction_id, sha256(answer)
            if page.next_cursor is None:
                return
            cursor = f"&cursor={page.next_cursor}"

    def detail(self, decision_id: str) -> dict[str, Any]:
        status, raw, _ = self.request("GET", f"{SINGLE}/{decision_id}")
        return json.loads(raw) if status == 200 else {}

    def features(self, probes: Sequence[dict]) -> list[dict[str, float | None]]:
        """Return the features of each probe, from dry runs.

        Raises:
            ReadFailed: a dry run is refused.
        """
        found = []
        for probe in probes:
            status, raw, _ = self.request("POST", f"{SINGLE}/dry-run", json.dumps(probe).encode())
            if status != 200:
                raise ReadFailed(f"a dry run is answered with {status}: {raw[:300]!r}")
            found.append(json.loads(raw)["features"])
        return found


class _Page(msgspec.Struct):
    decisions: list[msgspec.Raw]
    next_cursor: str | None


def _reply(status: int, raw: bytes, replayed: bool) -> Reply:
    if status != 200:
        return Reply(status)
    head = msgspec.json.decode(raw, type=Head)
    return Reply(status, sha256(raw), replayed, head.decision_id or "", head.outcome)


# --- putting it together -------------------------------------------------------------------------------------------


def gather(journal: Journal, database: Database, api: Api) -> Evidence:
    """Read back everything but the files and the features; the server, the worker and the stores must run.

    Raises:
        ReadFailed: something could not be read.
    """
    payments = Payments(journal.base)
    found = Evidence()
    found.events = _drained(database)
    found.rows, found.alerts = database.rows(), database.alerts()
    acknowledged = list(journal.acknowledged)
    found.replays = dict(zip(acknowledged, api.decide([payments.body(item) for item in acknowledged]), strict=True))
    for name, sha in api.listed():
        found.listed.setdefault(name, []).append(sha)
    _read_sample(found, acknowledged, payments, api, journal.seed)
    names = {item.name for item in acknowledged}
    others = [item for item in journal.told if item.name in names and item not in found.replays]
    replies = api.decide([payments.body(item) for item in others])
    found.conflicts = {item: reply.status for item, reply in zip(others, replies, strict=True)}
    left_open = [item for item in journal.told if item.name not in names and not item.must_be_refused]
    bodies = [payments.body(item) for item in left_open]
    first, second = api.decide(bodies), api.decide(bodies)
    found.asked = {item: pair for item, *pair in zip(left_open, first, second, strict=True)}
    found.events += _drained(database)  # asking decided some of them only now
    found.rows_after, found.alerts = database.rows(), database.alerts()
    return found


def _drained(database: Database) -> list[str]:
    """Wait until the outbox is empty, and return what is left in it if it does not become so."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while (events := database.events()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return events


def _read_sample(found: Evidence, acknowledged: list[Item], payments: Payments, api: Api, seed: int) -> None:
    sample = random.Random(seed).sample(acknowledged, min(SAMPLE, len(acknowledged)))
    for item in sample:
        found.singles[item] = api.decide_single(payments.body(item))
        _, raw, _ = api.request("POST", SINGLE, payments.body(item))
        sent = json.loads(raw)
        if decision_id := sent.get("decision_id"):
            detail = api.detail(decision_id)
            found.details[decision_id] = ({name: detail.get(name) for name in sent}, sent)


def check_features(
    payments: Payments, counts: EntityCounts, api: Api, restart: Callable[[], None] | None = None
) -> FeatureCheck:
    """Read the features of the state that lived through the faults, and what they should be.

    Nothing may be decided meanwhile.

    Args:
        restart: ends the server and returns when it is ready again, with a state that it built afresh.

    Raises:
        ReadFailed: a dry run has no answer.
    """
    probes = payments.probes()
    lived, rebuilt = api.features(probes), None
    if restart is not None:
        restart()
        rebuilt = api.features(probes)
    # The engine leaves payments that come too late out of its windows.
    in_time = [probe for probe in probes if not str(probe["card_id"]).startswith("late")]
    check = FeatureCheck(lived, rebuilt, counts.features(in_time, afresh=False))
    if any(count != lived[i].get(name) for i, found in enumerate(check.counted) for name, count in found.items()):
        # A commit may have come through after its server was killed, below a number that was read already.
        return FeatureCheck(lived, rebuilt, counts.features(in_time, afresh=True))
    return check


def find_card_numbers(places: Iterable[tuple[str, bytes]]) -> list[str]:
    """Return "place: last four digits" for each planted card number found in these bytes, with or without separators."""
    patterns = [
        (number, re.compile(b"[ ._:-]?".join(digit.encode() for digit in number))) for number in PLANTED_CARD_NUMBERS
    ]
    return [f"{place}: …{number[-4:]}" for place, content in places for number, pattern in patterns if pattern.search(content)]


def files_below(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each regular file below a directory with its content."""
    for path in sorted(directory.rglob("*")):
        try:
            if path.is_file():
                yield str(path.relative_to(directory)), path.read_bytes()
        except FileNotFoundError:
            continue  # PostgreSQL and SQLite drop temporary files at any time
