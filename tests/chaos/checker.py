"""Judging what was read back against the client's journal. Knows nothing of how the load or the faults were made."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.chaos.evidence import Evidence, FeatureCheck, Reply, Row
from tests.chaos.journal import Journal
from tests.chaos.payments import Item

# The outcomes as the decision table numbers them, and the first that needs an analyst.
OUTCOMES = ("approve", "step_up", "review", "hold", "decline")
REVIEW = 2


@dataclass
class Findings:
    """What is wrong, each with the names that it concerns; everything empty is what the product promises.

    Attributes:
        lost: acknowledged, and not in the database any more.
        doubled: decided more than once, or decided though nobody asked, or though it had to be refused.
        changed: another answer than the one that was acknowledged, wherever it is read.
        unsteady: asked twice in a row at the end, and answered differently.
        wrongly_answered: an accepted conflict, a refused good payment.
        alerts: missing, doubled or without a decision that needs one; outbox: events that are never carried out.
        features: state that lived through the faults and a recount differ.
        card_numbers: places that hold one.
    """

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unsteady: list[str] = field(default_factory=list)
    wrongly_answered: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    outbox: list[str] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    card_numbers: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, list[str]]:
        return {name: sorted(set(found)) for name, found in vars(self).items() if found}


def judge(journal: Journal, evidence: Evidence) -> Findings:
    """Return everything that contradicts the promises."""
    findings = Findings()
    _judge_acknowledged(journal, evidence, findings)
    _judge_rows(journal, evidence, findings)
    _judge_list(journal, evidence, findings)
    _judge_details(evidence, findings)
    _judge_refusals(journal, evidence, findings)
    _judge_open(evidence, findings)
    _judge_alerts(evidence, findings)
    findings.outbox += evidence.events
    if not any(check.rebuilt for check in evidence.features):
        findings.features.append("the state was never compared with one that is built afresh")
    for number, check in enumerate(evidence.features, 1):
        findings.features += [f"check {number}: {text}" for text in _feature_differences(check)]
    findings.card_numbers += evidence.card_numbers
    return findings


def _judge_acknowledged(journal: Journal, evidence: Evidence, findings: Findings) -> None:
    stored = _by_name(evidence.rows)
    names = Counter(item.name for item in journal.acknowledged)
    findings.doubled += [f"{name}: two bodies were acknowledged" for name, count in names.items() if count > 1]
    for item, told in journal.acknowledged.items():
        if len(set(told.ok)) > 1:
            findings.changed.append(f"{item.name}: acknowledged with two answers")
        if item.name not in stored:
            findings.lost.append(f"{item.name}: no row")
            continue
        for reply in _replies(evidence, item):
            if reply is None:
                findings.lost.append(f"{item.name}: was not read back")
            elif reply.status != 200:
                findings.changed.append(f"{item.name}: asked again, it is answered {reply.status}")
            elif not reply.replayed:
                findings.lost.append(f"{item.name}: asked again, it was decided anew")
            else:
                findings.changed += _differences(item, reply, told.ok, stored[item.name][0])


def _replies(evidence: Evidence, item: Item) -> list[Reply | None]:
    """Return what both doors say; a single request was made for some only."""
    return [evidence.replays.get(item), *([evidence.singles[item]] if item in evidence.singles else [])]


def _differences(item: Item, reply: Reply, acknowledged: list[str], row: Row) -> list[str]:
    found = []
    if reply.sha not in acknowledged:
        found.append(f"{item.name}: asked again, the answer has other bytes")
    if reply.decision_id != row.decision_id:
        found.append(f"{item.name}: the answer and the row have two decision ids")
    if reply.outcome != OUTCOMES[row.outcome]:
        found.append(f"{item.name}: the answer says {reply.outcome}, the row {OUTCOMES[row.outcome]}")
    return found


def _judge_rows(journal: Journal, evidence: Evidence, findings: Findings) -> None:
    sent = {item.name for item in journal.told}
    for rows in (evidence.rows, evidence.rows_after):
        for name, of_name in _by_name(rows).items():
            if len(of_name) > 1:
                findings.doubled.append(f"{name}: {len(of_name)} rows")
            if name not in sent:
                findings.doubled.append(f"{name}: a row that nobody asked for")
            elif Item(name).must_be_refused:
                findings.doubled.append(f"{name}: decided, though it had to be refused")
        ids = Counter(row.decision_id for row in rows)
        findings.doubled += [f"{name}: {count} rows have this decision id" for name, count in ids.items() if count > 1]
    gone = {row.decision_id for row in evidence.rows} - {row.decision_id for row in evidence.rows_after}
    findings.lost += [f"{decision_id}: disappeared during the final read" for decision_id in gone]


def _judge_list(journal: Journal, evidence: Evidence, findings: Findings) -> None:
    for item, told in journal.acknowledged.items():
        listed = evidence.listed.get(item.name, [])
        if not listed:
            findings.lost.append(f"{item.name}: not in the list of decisions")
        elif len(listed) > 1:
            findings.doubled.append(f"{item.name}: {len(listed)} times in the list of decisions")
        elif listed[0] not in told.ok:
            findings.changed.append(f"{item.name}: the list of decisions has another answer")


def _judge_details(evidence: Evidence, findings: Findings) -> None:
    for decision_id, (detail, sent) in evidence.details.items():
        if detail != sent:
            findings.changed.append(f"{sent.get('transaction_id')}: GET {decision_id} tells another answer")


def _judge_refusals(journal: Journal, evidence: Evidence, findings: Findings) -> None:
    for item, told in journal.told.items():
        if item.must_be_refused:
            if told.ok:
                findings.wrongly_answered.append(f"{item.name}: a card number was accepted")
        elif told.ok and told.refused:
            findings.changed.append(f"{item.name}: acknowledged, and refused with {told.refused[0]}")
        elif set(told.refused) - {"409"}:
            findings.wrongly_answered.append(f"{item.name}: a good payment was refused with {told.refused[0]}")
    findings.wrongly_answered += [
        f"{item.name}: another body under an id that is decided is answered {status}, not 409"
        for item, status in evidence.conflicts.items()
        if status != 409
    ]


def _judge_open(evidence: Evidence, findings: Findings) -> None:
    """Of each id whose end nobody knew: one body is accepted, always with the same answer, and every other is refused."""
    stored = _by_name(evidence.rows)
    accepted: dict[str, list[Item]] = defaultdict(list)
    for item, (first, second) in evidence.asked.items():
        if (first.status, first.sha) != (second.status, second.sha):
            findings.unsteady.append(f"{item.name}: answered {first.status} and then {second.status}, or with other bytes")
        if second.status == 200:
            accepted[item.name].append(item)
            if not second.replayed or (item.name in stored and not first.replayed):
                findings.unsteady.append(f"{item.name}: decided anew though it was decided")
        elif second.status != 409:
            findings.wrongly_answered.append(f"{item.name}: a good payment is answered {second.status}")
    for name in {item.name for item in evidence.asked}:
        if len(accepted[name]) != 1:
            findings.unsteady.append(f"{name}: {len(accepted[name])} bodies are accepted under one id")


def _judge_alerts(evidence: Evidence, findings: Findings) -> None:
    needed = {row.seq: row for row in evidence.rows_after if row.outcome >= REVIEW}
    raised = Counter(evidence.alerts)
    findings.alerts += [f"{row.transaction_id}: no alert" for seq, row in needed.items() if seq not in raised]
    findings.alerts += [f"decision {seq}: {count} alerts" for seq, count in raised.items() if count > 1]
    findings.alerts += [f"decision {seq}: an alert that nothing calls for" for seq in raised if seq not in needed]


def _feature_differences(check: FeatureCheck) -> list[str]:
    if not check.lived or not check.counted:
        return ["the features were not read"]
    found = []
    for i, (lived, rebuilt) in enumerate(zip(check.lived, check.rebuilt or [], strict=bool(check.rebuilt))):
        found += [
            f"probe {i}, {name}: {value} in the state that lived on, {rebuilt.get(name)} after a rebuild"
            for name, value in lived.items()
            if value != rebuilt.get(name)
        ]
    for i, counts in enumerate(check.counted):
        found += [
            f"probe {i}, {name}: {check.lived[i].get(name)} in the state, {count} in the database"
            for name, count in counts.items()
            if check.lived[i].get(name) != count
        ]
    return found


def _by_name(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.transaction_id].append(row)
    return found
