"""The operations of the shared log."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from scoring.features.shared.errors import SharedLogLost, SharedLogUnavailable
from scoring.features.shared.link import Link

# For everything that no decision waits for.
_PATIENT_SECONDS = 2.0
# How long a member may take to rebuild before its first exchange. It has no entries yet, so that nobody waits for it.
_JOINING_SECONDS = 1800
_WHY = {
    b"EPOCH": "the log is another one than this process joined: Redis was emptied, or a member began anew",
    b"FENCED": "this process was silent for so long that others took it for dead",
    b"BACK": "the log lacks what this process was told before: Redis came back with older data",
    b"TRIMMED": "the log no longer holds what this process has not read yet",
}


@dataclass(frozen=True)
class LogLimits:
    """Sizes and times of a log.

    Attributes:
        budget_ms: what a decision may wait for the log.
        member_ttl_s: a member that is silent for longer is taken for dead.
        max_log_bytes: the log keeps the newest entries up to this size. It has to hold what is appended while a process
            rebuilds from the ledger: some 400 bytes a transaction.
        max_reply_bytes: what one call may bring; where more is waiting, it takes several.
    """

    budget_ms: float = 5.0
    member_ttl_s: float = 10.0
    max_log_bytes: int = 256 << 20
    max_reply_bytes: int = 1 << 20


@dataclass(frozen=True)
class Membership:
    """What `join` gave.

    Attributes:
        epoch: the log's identity.
        member: this membership's; never zero. It is the fencing token: once others retired it, it is refused for good.
        head: how many entries the log had.
        replay_from: entries after this one may not have been in the ledger yet when `join` returned.
    """

    epoch: str
    member: int
    head: int
    replay_from: int


@dataclass(frozen=True)
class Exchange:
    """The answer to `exchange`.

    Attributes:
        head: how many entries the log has now.
        first: the place of my first new entry, 0 where none was appended.
        number_before: the number of my last entry before this call.
        read_to: the entries are those from my cursor to this place, in order; below `head`, nothing was appended.
        expired: members that seem to be dead.
        entries: as bytes, my own among them where I had not read them.
    """

    head: int
    first: int
    number_before: int
    read_to: int
    expired: list[int]
    entries: list[bytes]

    @property
    def complete(self) -> bool:
        """Whether all was read, and therefore all appended."""
        return self.read_to == self.head


@dataclass(frozen=True)
class Claim:
    """A dead member's affairs. Attributes: `low`, the place of its first unsettled entry or 0; `last_beat_ms`, Redis's clock."""

    member: int
    low: int
    last_beat_ms: int


class SharedLog:
    """One log. `exchange` belongs to the thread that decides, all else to one other thread.

    Args:
        url: of Redis or Valkey.
        name: of the log: processes with the same name share their features. At most one log a database.
        process: what `status` calls this process.
    """

    def __init__(self, url: str, name: str, process: str = "", limits: LogLimits = LogLimits()) -> None:  # noqa: B008
        self.limits = limits
        self._process = process or f"{os.uname().nodename}:{os.getpid()}"
        self._meta, self._log, self._members, self._beats = (
            f"{{risk:{name}}}:{part}".encode() for part in ("meta", "log", "members", "beats")
        )
        self._keys = [self._meta, self._log, self._members, self._beats]
        self._hot, self._patient = Link(url, limits.budget_ms / 1000), Link(url, _PATIENT_SECONDS)
        self._ttl_ms = b"%d" % int(limits.member_ttl_s * 1000)

    def close(self) -> None:
        """Close both connections."""
        self._hot.close()
        self._patient.close()

    # --- for the thread that decides -------------------------------------------------------------------------------------

    def exchange(
        self,
        membership: Membership,
        entries: Sequence[bytes],
        first_number: int,
        *,
        seen: int,
        cursor: int | None,
        unsettled: int = 0,
    ) -> Exchange:
        """Append entries that are not in the log yet, and read what is new; one call.

        Args:
            entries: with the numbers from `first_number` on. Those that an earlier call appended are not appended again.
            first_number: one more than the number of the last entry that is known to be in the log.
            seen: the largest head that this member was told.
            cursor: read from here on; None to read nothing.
            unsettled: place of the first entry of mine whose commit is still open; 0: none; -1: one whose place I don't know.

        Raises:
            SharedLogUnavailable: see there.
            SharedLogLost: see there.
        """
        answer = self._hot.run(
            "exchange",
            self._keys,
            [
                membership.epoch.encode(), b"%d" % membership.member, b"%d" % seen, b"%d" % (-1 if cursor is None else cursor),
                b"%d" % unsettled, self._ttl_ms, b"%d" % self.limits.max_log_bytes, b"%d" % self.limits.max_reply_bytes,
                b"%d" % first_number, *entries,
            ],
        )  # fmt: skip
        self._check(answer, membership.epoch)
        _, head, first, before, read_to, expired, new = answer
        return Exchange(head, first, before, read_to, [int(m) for m in expired if int(m) != membership.member], new)

    # --- for the other thread --------------------------------------------------------------------------------------------

    def join(self, bad_epoch: str = "", old: Membership | None = None) -> Membership:
        """Become a member of the log, and found it where there is none.

        Read the ledger after this has returned: what it does not show then is in the log after `replay_from`.

        Args:
            bad_epoch: what SharedLogLost said; if this is still the log, it is given up for a new one.
            old: this process's membership until now. It ends; all its entries that are not known to be settled are to be
                sent again.

        Raises:
            SharedLogUnavailable: see there; and while another member still settles what `old` left open.
        """
        member = secrets.randbits(62) + 1
        patience = b"%d" % (1000 * _JOINING_SECONDS)
        who = [secrets.token_hex(8).encode(), b"%d" % member, self._process.encode()]
        ends = b"" if old is None else b"%d" % old.member
        answer = self._patient.run("join", self._keys, [bad_epoch.encode(), *who, patience, ends])
        if answer[0] == b"BUSY":
            raise SharedLogUnavailable("another member is settling what this one left open")
        epoch, head, replay_from = answer
        return Membership(epoch.decode(), member, head, replay_from)

    def read(self, epoch: str, cursor: int) -> tuple[int, int, list[bytes]]:
        """Return (head, read_to, entries after `cursor` up to read_to); raises as `exchange` does."""
        answer = self._patient.run(
            "read", self._keys[:2], [epoch.encode(), b"%d" % cursor, b"%d" % (4 * self.limits.max_reply_bytes)]
        )
        self._check(answer, epoch)
        _, head, read_to, entries = answer
        return head, read_to, entries

    def claim(self, membership: Membership, dead: int) -> Claim | None:
        """Take over a dead member's unsettled entries; None where it lives, is gone, or another survivor does it."""
        keys = [self._meta, self._members, self._beats]
        lease = b"%d" % int(3000 * self.limits.member_ttl_s)
        answer = self._patient.run(
            "claim", keys, [membership.epoch.encode(), b"%d" % membership.member, b"%d" % dead, lease]
        )
        if answer[0] == b"EPOCH":
            self._check(answer, membership.epoch)
        return Claim(dead, answer[1], answer[2] - int(1000 * self.limits.member_ttl_s)) if answer[0] == b"OK" else None

    def settle(self, membership: Membership, claim: Claim, retractions: Sequence[bytes]) -> bool:
        """Append the retractions and forget the dead member; False where another survivor took over meanwhile."""
        who = [membership.epoch.encode(), b"%d" % membership.member, b"%d" % claim.member]
        answer = self._patient.run("settle", self._keys, [*who, *retractions])
        if answer[0] == b"EPOCH":
            self._check(answer, membership.epoch)
        return answer[0] == b"OK"

    def leave(self, membership: Membership) -> None:
        """Go in order; every entry of this member must be settled."""
        keys = [self._meta, self._members, self._beats]
        self._patient.run("leave", keys, [membership.epoch.encode(), b"%d" % membership.member])

    def reset(self, epoch: str) -> None:
        """Give the log up, if it is still this one: all members rebuild and join a new one."""
        self._patient.run("reset", self._keys, [epoch.encode()])

    @staticmethod
    def _check(answer: list, epoch: str) -> None:
        status = answer[0]
        if status != b"OK":
            raise SharedLogLost(_WHY[status], epoch if status == b"BACK" else "")
