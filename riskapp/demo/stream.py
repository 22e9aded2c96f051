"""The live part: payments go one by one to the public HTTP API, as a bank would send them."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import Queue

from scoring.ingest import FeedItem

_CONNECTIONS = 4
_AHEAD = 200
_RETRIES = 40
STOPPED = ("hold", "decline")


@dataclass
class StreamResult:
    """What the sender saw. Latencies are in seconds, from sending a request to having its whole answer."""

    sent: int = 0
    refused: int = 0
    outcomes: Counter = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    first_refusal: str = ""
    labels: int = 0
    seconds: float = 0.0

    def percentile_ms(self, share: float) -> float | None:
        """Return a latency percentile in milliseconds."""
        if not self.latencies:
            return None
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


class LiveSender:
    """Sends a feed at a steady pace. One customer's payments travel on one connection, so that they keep their order."""

    def __init__(self, port: int, key: str, per_second: float, stop: threading.Event, fraud_ids: frozenset[str]) -> None:
        self.result = StreamResult()
        self.event_time_us = 0
        self._port, self._key, self._per_second, self._stop = port, key, per_second, stop
        self._lock = threading.Lock()
        self._fraud_ids = fraud_ids
        self._vouchers: list[tuple[int, dict]] = []  # (when, label): customers whose good payment was stopped call the bank
        self._queues: list[Queue] = [Queue(_AHEAD) for _ in range(_CONNECTIONS)]

    def run(self, items: Iterator[FeedItem], until: float, tick: Callable[[], None]) -> StreamResult:
        """Send until the feed ends, `until` (monotonic) passes, or `stop` is set; `tick` is called about ten times a second."""
        workers = [threading.Thread(target=self._work, args=(queue,), daemon=True) for queue in self._queues]
        for worker in workers:
            worker.start()
        began = time.monotonic()
        sent, next_tick, labels = 0, 0.0, []
        for item in items:
            now = time.monotonic()
            if now >= until or self._stop.is_set():
                break
            if item.kind == "label":
                labels.append(item.body)
            else:
                self.event_time_us = item.at_us
                self._pause(began + sent / self._per_second)
                self._queues[_lane(item.body)].put(item.body)
                sent += 1
            if now >= next_tick:
                next_tick = now + 0.1
                labels = self._report(labels)
                tick()
        for queue in self._queues:
            queue.put(None)
        for worker in workers:
            worker.join()
        self._report(labels)
        self.result.seconds = time.monotonic() - began
        tick()
        return self.result

    def _pause(self, due: float) -> None:
        if (wait := due - time.monotonic()) > 0:
            self._stop.wait(wait)

    def _report(self, labels: list[dict]) -> list[dict]:
        with self._lock:
            labels = labels + [label for at_us, label in self._vouchers if at_us <= self.event_time_us]
            self._vouchers = [(at_us, label) for at_us, label in self._vouchers if at_us > self.event_time_us]
        if labels:
            client = _Client(self._port, self._key)
            status, body = client.post("/api/v1/labels", {"labels": labels})
            client.close()
            if status == 200:
                self.result.labels += sum(1 for result in body["results"] if "label_id" in result)
        return []

    def _work(self, queue: Queue) -> None:
        client = _Client(self._port, self._key)
        while (body := queue.get()) is not None:
            began = time.perf_counter()
            status, answer = client.post("/api/v1/decisions", body)
            took = time.perf_counter() - began
            with self._lock:
                self._note(status, answer, took)
                if status == 200 and answer["outcome"] in STOPPED and body["transaction_id"] not in self._fraud_ids:
                    self._vouchers.append(_voucher(body))
        client.close()

    def _note(self, status: int, answer: dict, took: float) -> None:
        if status == 200:
            self.result.sent += 1
            self.result.outcomes[answer["outcome"]] += 1
            self.result.latencies.append(took)
            return
        self.result.refused += 1
        self.result.first_refusal = (
            self.result.first_refusal or f"{status}: {json.dumps(answer.get('errors') or answer.get('detail'))}"
        )


def _voucher(body: dict) -> tuple[int, dict]:
    """Return (when, label): a day later the customer says that the stopped payment was good."""
    reported_at = datetime.fromisoformat(body["occurred_at"]) + timedelta(days=1)
    label = {
        "transaction_id": body["transaction_id"],
        "label": "legitimate",
        "source": "customer",
        "reported_at": reported_at.isoformat(),
    }
    return round(reported_at.timestamp() * 1e6), label


def _lane(body: dict) -> int:
    owner = body.get("customer_id") or body.get("account_id") or body["card_id"]
    return hashlib.blake2b(owner.encode(), digest_size=2).digest()[0] % _CONNECTIONS


class _Client:
    """One keep-alive connection that survives a restart of the server: the transaction id makes sending again harmless."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, path: str, body: dict) -> tuple[int, dict]:
        payload = json.dumps(body).encode()
        for attempt in range(_RETRIES):
            try:
                self._connection.request("POST", path, payload, self._headers)
                response = self._connection.getresponse()
                answer = json.loads(response.read())
                if response.status != 503:
                    return response.status, answer
            except (OSError, http.client.HTTPException):
                answer = {"detail": "the server could not be reached"}
                self._connection.close()
            time.sleep(min(0.05 * 2**attempt, 1.0))
        return 503, answer

    def close(self) -> None:
        self._connection.close()
