"""Features of a run against one local store: built from the ledger before the run, then fed with the log in its order.

Says "ready" on stdout, waits for a line on stdin until the run is over, and prints one JSON line.
"""

from __future__ import annotations

import json
import sys

import django

django.setup()

from scoring.decisions.shared_store import open_shared_log  # noqa: E402
from scoring.decisions.state_keeper import build_from_ledger, event_key, read_entry  # noqa: E402
from scoring.feature_rows import stored_row  # noqa: E402
from scoring.features.shared.entry import EntryKind, decode  # noqa: E402
from scoring.models import Decision  # noqa: E402


def main() -> None:
    log = open_shared_log()
    membership = log.join()
    log.leave(membership)
    state, cursor = build_from_ledger(), membership.head
    last = Decision.objects.order_by("-seq").values_list("seq", flat=True).first() or 0
    print("ready", flush=True)
    sys.stdin.readline()
    said: dict[int, bytes] = {}
    head = None
    while cursor != head:
        head, cursor, entries = log.read(membership.epoch, cursor)
        for entry in map(decode, entries):
            if entry.kind is not EntryKind.EVENTS:
                raise SystemExit(f"an entry of kind {entry.kind.name}: something failed during the run")
            rows = state.process(read_entry(state, entry)).x
            said |= {key: row.tobytes() for key, row in zip(entry.keys.tolist(), rows, strict=True)}
    decided = Decision.objects.filter(seq__gt=last).values_list("decision_id", "features")
    wrong = sum(stored_row(row).tobytes() != said.get(event_key(of)) for of, row in decided.iterator(5_000))
    print(json.dumps({"compared": decided.count(), "mismatches": wrong}), flush=True)


if __name__ == "__main__":
    main()
