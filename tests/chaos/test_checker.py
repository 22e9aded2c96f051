"""The checker finds what was planted: one bug at a time in what was read, and many at once on the disk."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos import evidence as reading
from tests.chaos import supervisor
from tests.chaos.checker import Findings, judge
from tests.chaos.client import Load
from tests.chaos.evidence import (
    Api,
    Database,
    EntityCounts,
    Evidence,
    ReadFailed,
    check_features,
    files_below,
    find_card_numbers,
    gather,
)
from tests.chaos.faults import database_file
from tests.chaos.journal import REFUSED, Answer, Journal, JournalDamaged, JournalWriter, Told, read_journal
from tests.chaos.payments import PLANTED_CARD_NUMBERS, Item, Payments, start_of_run
from tests.chaos.stack import SQLITE, Stack
from tests.chaos.verdict import Verdict, combined, rule_of_three
from tests.servers.process import ServerUnavailable, free_port

PAYMENTS = 400


@dataclass
class Quiet:
    """An installation that took some payments while nothing went wrong."""

    stack: Stack
    journal_file: Path

    def read(self, journal: Journal) -> Evidence:
        """Read everything back, as a run does at its end."""
        database, api = Database(self.stack.direct_url), Api(self.stack.web.port, self.stack.key)
        try:
            found = gather(journal, database, api)
            found.features = [check_features(Payments(journal.base), EntityCounts(database), api, lambda: None)]
        finally:
            api.close()
        found.card_numbers = find_card_numbers(files_below(self.stack.data_dir))
        return found


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quiet]:
    path = tmp_path_factory.mktemp("chaos") / "journal"
    stack = Stack(SQLITE)
    try:
        stack.start()
        payments = Payments(start_of_run())
        journal = JournalWriter(path, base=payments.base, seed=1)
        load = Load(stack.web.port, stack.key, journal, payments, seed=1, clients=3)
        load.start()
        deadline = time.monotonic() + 30
        while load.acknowledged < PAYMENTS:
            assert time.monotonic() < deadline and not load.failures
            time.sleep(0.01)
        load.stop()
        _leave_some_open(journal, payments, stack)
        journal.close()
        yield Quiet(stack, path)
    finally:
        stack.close()


def _leave_some_open(journal: JournalWriter, payments: Payments, stack: Stack) -> None:
    """Payments whose end the client does not know: the first was decided, the second was not, the third had two bodies."""
    api = Api(stack.web.port, stack.key)
    for item in (Item("open-0"), Item("open-1"), Item("open-2"), Item("open-2", 1)):
        journal.before([(item, payments.digest(item))])
        if item.name == "open-0":
            api.decide([payments.body(item)])
    item = Item("bad-0")
    call = journal.before([(item, payments.digest(item))])
    journal.after(call, [Answer(REFUSED, str(api.decide_single(payments.body(item)).status))])
    api.close()


@pytest.fixture(scope="module")
def clean(quiet: Quiet) -> tuple[Journal, Evidence]:
    """What the client was told and what is there, without any bug."""
    journal = read_journal(quiet.journal_file)
    return journal, quiet.read(journal)


def test_nothing_is_found_where_nothing_is_wrong(clean):
    journal, found = clean
    assert judge(journal, found).as_dict() == {}
    # And it did look: at every answer, at conflicts, at open ends, at both doors, at alerts and features.
    assert len(found.replays) == len(journal.acknowledged) >= PAYMENTS // 2
    assert found.singles and found.details and found.alerts and found.features[0].counted
    assert set(journal.open_items) == {Item("open-0"), Item("open-1"), Item("open-2"), Item("open-2", 1)}
    assert [found.asked[Item(f"open-{i}")][0].replayed for i in range(3)] == [True, False, False]
    assert found.asked[Item("open-2", 1)][1].status == 409
    assert all(status == 409 for status in found.conflicts.values())


# --- one bug at a time, in what was read ---------------------------------------------------------------------------


def _acknowledged(journal: Journal) -> Item:
    """Return an item whose name was only ever sent with one body."""
    names = [item.name for item in journal.told]
    return next(item for item in journal.acknowledged if names.count(item.name) == 1)


def _row_of(found: Evidence, name: str) -> int:
    return next(i for i, row in enumerate(found.rows) if row.transaction_id == name)


def row_deleted(journal: Journal, found: Evidence) -> None:
    del found.rows[_row_of(found, _acknowledged(journal).name)]


def decided_anew(journal: Journal, found: Evidence) -> None:
    item = _acknowledged(journal)
    found.replays[item] = dataclasses.replace(found.replays[item], replayed=False)


def phantom_ok(journal: Journal, found: Evidence) -> None:
    journal.told[Item("phantom")] = Told("0" * 16, ok=["0" * 64])


def missing_from_the_list(journal: Journal, found: Evidence) -> None:
    del found.listed[_acknowledged(journal).name]


def gone_in_the_end(journal: Journal, found: Evidence) -> None:
    del found.rows_after[_row_of(found, _acknowledged(journal).name)]


def row_twice(journal: Journal, found: Evidence) -> None:
    found.rows.append(found.rows[0]._replace(seq=10**9, decision_id="another"))


def decision_id_twice(journal: Journal, found: Evidence) -> None:
    found.rows_after[0] = found.rows_after[0]._replace(decision_id=found.rows_after[1].decision_id)


def row_under_another_id(journal: Journal, found: Evidence) -> None:
    found.rows_after.append(found.rows[0]._replace(seq=10**9, decision_id="another", transaction_id="another"))


def refused_and_stored(journal: Journal, found: Evidence) -> None:
    found.rows.append(found.rows[0]._replace(seq=10**9, decision_id="another", transaction_id="bad-0"))


def two_bodies_acknowledged(journal: Journal, found: Evidence) -> None:
    item = _acknowledged(journal)
    journal.told[Item(item.name, 1)] = Told("0" * 16, ok=["0" * 64])


def twice_in_the_list(journal: Journal, found: Evidence) -> None:
    found.listed[_acknowledged(journal).name] *= 2


def other_bytes(journal: Journal, found: Evidence) -> None:
    item = _acknowledged(journal)
    found.replays[item] = dataclasses.replace(found.replays[item], sha="0" * 64)


def other_bytes_at_the_single_door(journal: Journal, found: Evidence) -> None:
    item = next(iter(found.singles))
    found.singles[item] = dataclasses.replace(found.singles[item], sha="0" * 64)


def other_bytes_in_the_list(journal: Journal, found: Evidence) -> None:
    found.listed[_acknowledged(journal).name] = ["0" * 64]


def other_fields_by_id(journal: Journal, found: Evidence) -> None:
    decision_id, (detail, sent) = next(iter(found.details.items()))
    found.details[decision_id] = (detail | {"score": -1}, sent)


def other_outcome_in_the_row(journal: Journal, found: Evidence) -> None:
    i = _row_of(found, _acknowledged(journal).name)
    found.rows[i] = found.rows[i]._replace(outcome=(found.rows[i].outcome + 1) % 5)


def other_decision_id(journal: Journal, found: Evidence) -> None:
    item = _acknowledged(journal)
    found.replays[item] = dataclasses.replace(found.replays[item], decision_id="another")


def acknowledged_with_two_answers(journal: Journal, found: Evidence) -> None:
    journal.told[_acknowledged(journal)].ok.append("0" * 64)


def acknowledged_and_refused(journal: Journal, found: Evidence) -> None:
    journal.told[_acknowledged(journal)].refused.append("409")


def not_answered_any_more(journal: Journal, found: Evidence) -> None:
    item = _acknowledged(journal)
    found.replays[item] = reading.Reply(409)


def good_payment_refused(journal: Journal, found: Evidence) -> None:
    journal.told[Item("open-0")].refused.append("400")


def conflict_accepted(journal: Journal, found: Evidence) -> None:
    found.conflicts[Item(_acknowledged(journal).name, 2)] = 200


def card_number_accepted(journal: Journal, found: Evidence) -> None:
    journal.told[Item("bad-0")].ok.append("0" * 64)


def open_end_changes(journal: Journal, found: Evidence) -> None:
    first, second = found.asked[Item("open-1")]
    found.asked[Item("open-1")] = (first, dataclasses.replace(second, sha="0" * 64))


def open_end_decided_anew(journal: Journal, found: Evidence) -> None:
    first, second = found.asked[Item("open-0")]
    found.asked[Item("open-0")] = (dataclasses.replace(first, replayed=False), second)


def two_open_bodies_accepted(journal: Journal, found: Evidence) -> None:
    found.asked[Item("open-2", 1)] = found.asked[Item("open-2")]


def alert_missing(journal: Journal, found: Evidence) -> None:
    found.alerts.pop()


def alert_twice(journal: Journal, found: Evidence) -> None:
    found.alerts.append(found.alerts[0])


def alert_for_nothing(journal: Journal, found: Evidence) -> None:
    found.alerts.append(10**9)


def event_left(journal: Journal, found: Evidence) -> None:
    found.events.append("an event")


def feature_off(journal: Journal, found: Evidence) -> None:
    found.features[0].lived[0]["card.sum.7d"] = -1.0


def count_off_in_both(journal: Journal, found: Evidence) -> None:
    """The state and its rebuild agree, and are both wrong: only the database tells."""
    for features in (found.features[0].lived, found.features[0].rebuilt):
        features[0]["card.count.30d"] = -1.0


def features_not_read(journal: Journal, found: Evidence) -> None:
    found.features = [reading.FeatureCheck([], [], [])]


def never_compared(journal: Journal, found: Evidence) -> None:
    found.features = [dataclasses.replace(check, rebuilt=None) for check in found.features]


def card_number_in_a_log(journal: Journal, found: Evidence) -> None:
    found.card_numbers = find_card_numbers([("server.log", b"x 4111-1111-1111-1111 y")])


PLANTED = {
    "lost": [row_deleted, decided_anew, phantom_ok, missing_from_the_list, gone_in_the_end],
    "doubled": [
        row_twice, decision_id_twice, row_under_another_id, refused_and_stored, two_bodies_acknowledged, twice_in_the_list,
    ],
    "changed": [
        other_bytes, other_bytes_at_the_single_door, other_bytes_in_the_list, other_fields_by_id, other_outcome_in_the_row,
        other_decision_id, acknowledged_with_two_answers, acknowledged_and_refused, not_answered_any_more,
    ],
    "wrongly_answered": [good_payment_refused, conflict_accepted, card_number_accepted],
    "unsteady": [open_end_changes, open_end_decided_anew, two_open_bodies_accepted],
    "alerts": [alert_missing, alert_twice, alert_for_nothing],
    "outbox": [event_left],
    "features": [feature_off, count_off_in_both, features_not_read, never_compared],
    "card_numbers": [card_number_in_a_log],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "plant"), [(kind, plant) for kind, plants in PLANTED.items() for plant in plants])
def test_a_planted_bug_is_found(clean, kind, plant):
    journal, found = copy.deepcopy(clean)
    plant(journal, found)
    assert kind in judge(journal, found).as_dict()


def test_every_kind_of_finding_has_a_planted_bug():
    assert set(PLANTED) == {field.name for field in dataclasses.fields(Findings)}


# --- many bugs at once, on the disk --------------------------------------------------------------------------------


def test_bugs_planted_on_the_disk_are_all_found(quiet, clean, tmp_path):
    """The whole way: from a changed database and a changed journal through the server's answers to the findings."""
    journal, _ = clean
    victims = [item.name for item in journal.acknowledged if not item.variant][:4]
    deleted, doubled, changed, silent = victims
    quiet.stack.parts["web"].kill()
    _change_database(quiet, deleted, doubled, changed, silent)
    (quiet.stack.data_dir / "notes.txt").write_text(f"card {PLANTED_CARD_NUMBERS[0]}")
    changed_journal = tmp_path / "journal"
    shutil.copy(quiet.journal_file, changed_journal)
    with changed_journal.open("a") as file:
        for line in (["before", 10**6, [["phantom", 0, "0" * 16]]], ["after", 10**6, [["ok", "0" * 64]]]):
            file.write(json.dumps(line) + "\n")
    quiet.stack.look_after()
    quiet.stack.wait_ready()

    with_bugs = read_journal(changed_journal)
    findings = judge(with_bugs, quiet.read(with_bugs)).as_dict()

    def told_of(kind: str, name: str) -> bool:
        return any(text.startswith(f"{name}:") for text in findings.get(kind, ()))

    assert told_of("lost", deleted) and told_of("lost", "phantom")
    assert told_of("doubled", "another")
    assert told_of("changed", changed)
    assert told_of("alerts", silent)
    assert findings["card_numbers"] == ["notes.txt: …1111"]
    blamed = {text.split(":")[0] for kind in ("lost", "doubled", "changed", "alerts") for text in findings[kind]}
    innocent = {item.name for item in journal.told} - set(victims)
    assert not blamed & innocent, "a finding must name what is wrong, and nothing else"


def _change_database(quiet: Quiet, deleted: str, doubled: str, changed: str, silent: str) -> None:
    with closing(sqlite3.connect(database_file(quiet.stack.direct_url))) as connection, connection:
        of = "SELECT seq FROM scoring_decision WHERE transaction_id = ?"
        connection.execute(f"DELETE FROM scoring_alert WHERE decision_id IN ({of})", [silent])
        connection.execute(f"DELETE FROM scoring_alert WHERE decision_id IN ({of})", [deleted])
        connection.execute("DELETE FROM scoring_decision WHERE transaction_id = ?", [deleted])
        columns = [row[1] for row in connection.execute("PRAGMA table_info(scoring_decision)") if row[1] != "seq"]
        replaced = {"transaction_id": "'another'", "decision_id": f"'{uuid.uuid4()}'"}
        values = ", ".join(replaced.get(column, f'"{column}"') for column in columns)
        names = ", ".join(f'"{column}"' for column in columns)
        connection.execute(
            f"INSERT INTO scoring_decision ({names}) SELECT {values} FROM scoring_decision WHERE transaction_id = ?", [doubled]
        )
        # The answer is told from what is stored, in one form or another.
        connection.execute("UPDATE scoring_decision SET score = (score + 7) % 1000 WHERE transaction_id = ?", [changed])
        if "response" in columns:
            connection.execute(
                "UPDATE scoring_decision SET response = replace(response, '\"score\":', '\"score\":1') WHERE transaction_id = ?",
                [changed],
            )


# --- what is no pass -----------------------------------------------------------------------------------------------


def test_a_final_read_without_an_answer_fails(clean, monkeypatch, tmp_path):
    journal, _ = clean
    monkeypatch.setattr(reading, "ATTEMPTS", 1)
    path = tmp_path / "empty.sqlite3"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE scoring_decision (seq, decision_id, transaction_id, outcome)")
        connection.execute("CREATE TABLE scoring_alert (decision_id)")
        connection.execute("CREATE TABLE scoring_outboxevent (subject)")
    with pytest.raises(ReadFailed, match="no answer"):
        gather(journal, Database(f"sqlite:///{path}"), Api(free_port(), "key"))


class NothingStarts:
    """What a run needs of a stack, up to the point at which it should start."""

    database, key, direct_url = SQLITE, "key", "sqlite:////nowhere"

    def __init__(self, data_dir: Path, web: Stack) -> None:
        self.data_dir, self.proxies = data_dir, web.proxies

    def start(self) -> None:
        raise ServerUnavailable("it does not start")

    def own_exits(self) -> dict[str, int]:
        return {}


def test_a_run_that_cannot_finish_is_red(quiet, tmp_path):
    run = supervisor._Run(NothingStarts(tmp_path / "data", quiet.stack), 3, 1, 1, lambda line: None)
    verdict = run.carry_out()
    assert not verdict.is_green
    assert any("could not be finished: it does not start" in reason for reason in verdict.reasons)


def test_nothing_acknowledged_or_too_few_faults_is_red():
    good = Verdict(SQLITE, seed=1, asked=3, faults=3, acknowledged=10)
    assert good.is_green and good.as_dict()["verdict"] == "green"
    assert not dataclasses.replace(good, acknowledged=0).is_green
    assert not dataclasses.replace(good, faults=2).is_green
    assert not dataclasses.replace(good, findings={"lost": ["x"]}).is_green
    assert not dataclasses.replace(good, problems=["no decision within 30 s"]).is_green
    both = [good.as_dict(), dataclasses.replace(good, faults=2).as_dict()]
    assert combined(both)["verdict"] == "red" and combined(both)["faults"] == 5


def test_the_rule_of_three():
    assert rule_of_three(0) is None and rule_of_three(1) == 1.0
    bound = rule_of_three(10_000)
    assert (1 - bound) ** 10_000 == pytest.approx(0.05, rel=0.01)


def test_a_journal_that_contradicts_itself_is_refused(tmp_path):
    run = '["run",{"base":"2026-01-01T00:00:00+00:00","seed":1}]\n'
    for lines in (
        "",
        '["before",1,[["a",0,"x"]]]\n',
        run + '["after",1,[["ok","x"]]]\n',
        run + '["before",1,[["a",0,"x"]]]\n["after",1,[]]\n',
        run + '["before",1,[["a",0,"x"]]]\n["before",2,[["a",0,"y"]]]\n',
        run + '["before",1,[["a",0,"x"]]]\n["after",1,[["perhaps","x"]]]\n',
        run + 'no json\n["before",1,[["a",0,"x"]]]\n',
    ):
        (tmp_path / "journal").write_text(lines)
        with pytest.raises(JournalDamaged):
            read_journal(tmp_path / "journal")


def test_a_torn_last_line_and_a_call_without_an_end_are_unknown(tmp_path):
    path = tmp_path / "journal"
    writer = JournalWriter(path, base=start_of_run(), seed=1)
    writer.before([(Item("a"), "x")])
    writer.close()
    with path.open("a") as file:
        file.write('["after",1,[["ok","')
    journal = read_journal(path)
    assert journal.open_items == [Item("a")] and journal.told[Item("a")].unknown == 1


def test_tables_that_cannot_be_read_for_long_are_a_failed_read(monkeypatch):
    monkeypatch.setattr(reading, "RECOVERY_SECONDS", 0.3)
    with pytest.raises(ReadFailed, match="cannot be read"):
        Database(f"postgresql://nobody@127.0.0.1:{free_port()}/none").query("SELECT 1")
