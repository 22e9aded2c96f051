"""The state file: what goes on from it is what would have gone on without it, and no damage is taken for a state."""

from __future__ import annotations

import json
import os
import stat
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.features import state_file
from scoring.features.state import FeatureState
from scoring.features.state_file import LedgerPosition, StateFileRefused
from tests.scoring.features.test_state import LATENESS_DAYS, body, read
from tests.strategies import cut, cuts, examples, transactions

POSITION = LedgerPosition(seq=12, decision_id="0190-example", label_id=7)


def absorb(state: FeatureState, bodies: list[dict], first_key: int, *, remember: bool = True) -> bytes:
    """Process payments and return everything that was answered."""
    batch = state.tokens.columns(read(bodies), range(first_key, first_key + len(bodies)), remember=remember)
    rows = state.process(batch)
    return rows.x.tobytes() + rows.late.tobytes()


def label(state: FeatureState, bodies: list[dict], positions: list[int]) -> None:
    for position in positions:
        position %= len(bodies)
        batch = state.tokens.columns(read([bodies[position]]), [position], remember=False)
        state.label(batch.occurred_us, batch.key, batch.entities, np.array([position % 2], np.uint8))


def take_back(state: FeatureState, bodies: list[dict], first_key: int) -> None:
    """Process payments whose commit fails."""
    batch = state.tokens.columns(read(bodies), range(first_key, first_key + len(bodies)), remember=True)
    state.take_back(batch, state.process(batch))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The file of a state of 30 payments."""
    state = FeatureState(LATENESS_DAYS)
    absorb(state, [body(i, merchant_id=f"m{i % 7}", device_id=f"d{i % 3}") for i in range(30)], 0)
    state.save(tmp_path / "state", POSITION)
    return tmp_path / "state"


def load(path: Path) -> FeatureState:
    return FeatureState.load(path, LATENESS_DAYS)[0]


@examples(40)
@given(
    bodies=transactions(min_size=2),
    sizes=cuts,
    labels=st.lists(st.integers(0, 30), max_size=4),
    failing=transactions(max_size=3),
    place=st.integers(0, 30),
)
def test_what_goes_on_from_the_file_is_what_went_on_without_it(tmp_path, bodies, sizes, labels, failing, place):
    """Labels before and after, and batches that were taken back, on both sides of the copy."""
    whole, path = FeatureState(LATENESS_DAYS), tmp_path / "state"
    half = place % len(bodies)
    start = 0
    for part in cut(bodies[:half], sizes):
        absorb(whole, part, start)
        start += len(part)
    if half:
        label(whole, bodies[:half], labels)
    take_back(whole, failing, 5_000)
    snapshot = whole.snapshot()
    before_copy = []  # the state goes on before its copy is written
    for part in cut(bodies[half:], sizes):
        before_copy.append(absorb(whole, part, start))
        start += len(part)
    snapshot.write(path, POSITION)
    again, position = FeatureState.load(path, LATENESS_DAYS)
    assert position == POSITION
    start = half
    for part, truth in zip(cut(bodies[half:], sizes), before_copy, strict=True):
        assert absorb(again, part, start) == truth
        start += len(part)
    for state in (whole, again):
        label(state, bodies, labels)
        take_back(state, failing, 6_000)
    assert absorb(again, bodies, 7_000, remember=False) == absorb(whole, bodies, 7_000, remember=False)
    assert (again.event_count(), again.clock_us, again.tokens.sizes()) == (
        whole.event_count(), whole.clock_us, whole.tokens.sizes(),
    )  # fmt: skip


def test_a_file_of_nothing_is_an_empty_state(tmp_path):
    FeatureState(LATENESS_DAYS).save(tmp_path / "state", POSITION)
    assert load(tmp_path / "state").event_count() == 0


def test_the_state_may_be_copied_while_another_thread_decides(tmp_path):
    state = FeatureState(LATENESS_DAYS)
    bodies = [body(i, card_id=f"k{i % 400}", merchant_id=f"m{i % 31}", device_id=f"d{i}") for i in range(4_000)]
    absorb(state, bodies, 0)
    truth = absorb(state, bodies[:500], 50_000, remember=False)
    snapshot = state.snapshot()
    writer = threading.Thread(target=snapshot.write, args=(tmp_path / "state", POSITION))
    writer.start()
    for start in range(0, 4_000, 100):
        absorb(state, [b | {"device_id": f"new{i}"} for i, b in enumerate(bodies[start : start + 100], start)], 10_000 + start)
    writer.join()
    again = load(tmp_path / "state")
    assert again.tokens.sizes() != state.tokens.sizes()
    assert absorb(again, bodies[:500], 50_000, remember=False) == truth


def test_only_the_owner_may_read_it_and_nothing_else_is_left(saved):
    assert stat.S_IMODE(os.stat(saved).st_mode) == 0o600
    assert [path.name for path in saved.parent.iterdir()] == ["state"]


def test_a_file_that_cannot_be_written_leaves_the_one_before(saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    state = load(saved)
    absorb(state, [body(99)], 99)
    with monkeypatch.context() as patch:
        patch.setattr(state_file.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            state.save(saved, POSITION)
    assert saved.read_bytes() == before and [path.name for path in saved.parent.iterdir()] == ["state"]
    state.save(saved, POSITION)  # another one may begin
    assert saved.read_bytes() != before


# --- damage --------------------------------------------------------------------------------------------------------------


def test_no_file_is_told_from_a_bad_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "state")


def test_any_changed_byte_is_found(saved):
    """Of the header each, of the rest every 13th."""
    whole = saved.read_bytes()
    header = 16 + 4 + struct.unpack_from("<I", whole, 16)[0] + 32
    for place in [*range(header), *range(header, len(whole), 13), len(whole) - 1]:
        changed = bytearray(whole)
        changed[place] ^= 0x10
        saved.write_bytes(changed)
        with pytest.raises(StateFileRefused):
            load(saved)


def test_a_file_that_ends_anywhere_is_found(saved):
    whole = saved.read_bytes()
    for size in [*range(0, 600), *range(600, len(whole), 37), len(whole) - 1]:
        saved.write_bytes(whole[:size])
        with pytest.raises(StateFileRefused):
            load(saved)
    saved.write_bytes(whole + b"x")
    with pytest.raises(StateFileRefused, match="not whole"):
        load(saved)


def test_a_block_that_is_missing_or_twice_is_found(saved):
    whole = saved.read_bytes()
    blocks = list(_blocks(whole))
    assert len(blocks) > 10
    head = whole[: blocks[0].start]
    for left_out in range(len(blocks)):
        saved.write_bytes(head + b"".join(whole[b] for i, b in enumerate(blocks) if i != left_out))
        with pytest.raises(StateFileRefused):
            load(saved)
        saved.write_bytes(head + b"".join(whole[b] * (1 + (i == left_out)) for i, b in enumerate(blocks)))
        with pytest.raises(StateFileRefused):
            load(saved)


def _blocks(whole: bytes):
    """Yield where each block lies."""
    at = 16 + 4 + struct.unpack_from("<I", whole, 16)[0] + 32
    while at < len(whole):
        tag, _, _, third, fourth = struct.unpack_from("<4s4q", whole, at)
        size = {b"TOKN": 4 * third + fourth, b"LOGS": 4 * third + 24 * fourth, b"DONE": 0}[tag]
        yield slice(at, at + 40 + size)
        at += 40 + size


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"format": 2}, "its format is 2"), ({"layout": "0" * 64}, "other features"), ({"format": None}, "format")],
)
def test_a_file_of_another_version_is_refused_by_name(saved, changed, named):
    whole = saved.read_bytes()
    (length,) = struct.unpack_from("<I", whole, 16)
    text = json.dumps(json.loads(whole[20 : 20 + length]) | changed).encode()
    head = whole[:16] + struct.pack("<I", len(text)) + text
    saved.write_bytes(head + state_file.hashlib.sha256(head).digest() + whole[20 + length + 32 :])
    with pytest.raises(StateFileRefused, match=named):
        load(saved)


def test_a_file_for_another_lateness_is_refused(saved):
    with pytest.raises(StateFileRefused, match="lateness"):
        FeatureState.load(saved, LATENESS_DAYS + 1)


@pytest.mark.parametrize(
    ("tag", "place", "value", "named"),
    [
        (b"TOKN", 0, 99, "not in order"),
        (b"TOKN", 1, 5, "not in order"),
        (b"LOGS", 0, 99, "there is no kind"),
        (b"LOGS", 1, -4, "there is no kind"),
        (b"LOGS", 1, 2**40, "there is no kind"),
        (b"LOGS", 0, -1, "there is no kind"),
    ],
)
def test_a_block_with_a_right_checksum_and_wrong_numbers_is_refused(saved, tag, place, value, named):
    whole = saved.read_bytes()
    block = next(b for b in _blocks(whole) if whole[b][:4] == tag)
    numbers = list(struct.unpack_from("<4q", whole, block.start + 4))
    numbers[place] = value
    head = tag + struct.pack("<4q", *numbers)
    payload = whole[block][40:]
    checked = head + struct.pack("<I", zlib.crc32(payload, zlib.crc32(head))) + payload
    saved.write_bytes(whole[: block.start] + checked + whole[block.stop :])
    with pytest.raises(StateFileRefused, match=named):
        load(saved)
