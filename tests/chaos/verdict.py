"""What a run comes to: figures, findings, and green or red."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

SHOWN = 10  # names told of each finding
LONGEST = 2_000  # characters of a problem, which may hold the end of a log


@dataclass
class Verdict:
    """The outcome of one run.

    Attributes:
        asked, faults: how many faults there were to be, and how many happened.
        requests: calls that the clients began; payments: different payments in them.
        acknowledged: payments that were answered with a decision.
        unknown: payments of which the clients never learned whether they were decided.
        findings: by kind, what contradicts the promises; see checker.Findings.
        problems: why the run itself cannot be trusted, or what else was not as it should be.
    """

    database: str
    seed: int
    asked: int
    faults: int = 0
    requests: int = 0
    payments: int = 0
    acknowledged: int = 0
    unknown: int = 0
    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    findings: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: dict[str, object] = field(default_factory=dict)

    @property
    def reasons(self) -> list[str]:
        """Why the verdict is red; empty where it is green."""
        reasons = [problem[:LONGEST] for problem in self.problems]
        if self.acknowledged == 0:
            reasons.append("nothing was acknowledged, so that nothing could be lost")
        if self.faults < self.asked:
            reasons.append(f"{self.faults} of {self.asked} faults happened")
        return reasons + [f"{len(found)} {kind}: {'; '.join(found[:SHOWN])}" for kind, found in self.findings.items()]

    @property
    def is_green(self) -> bool:
        return not self.reasons

    def as_dict(self) -> dict[str, object]:
        """Return the figures as `make chaos` prints them."""
        counts = {name: len(self.findings.get(name, ())) for name in ("lost", "doubled", "changed")}
        return {
            "database": self.database,
            "seed": self.seed,
            "faults": self.faults,
            "requests": self.requests,
            "payments": self.payments,
            "acknowledged": self.acknowledged,
            **counts,
            "unknown": self.unknown,
            "upper_bound_95": None if any(counts.values()) else rule_of_three(self.acknowledged),
            "seconds": round(self.seconds, 1),
            "verdict": "green" if self.is_green else "red",
        }


def rule_of_three(acknowledged: int) -> float | None:
    """Return the upper end of a 95 % interval of the rate of an event that was seen 0 times in so many.

    The solution of (1 - p)^n = 0.05 is close to 3 / n: Hanley and Lippman-Hand, "If nothing goes wrong, is everything all
    right?", JAMA 249 (1983).
    """
    return min(1.0, 3 / acknowledged) if acknowledged else None


def combined(verdicts: list[dict[str, object]]) -> dict[str, object]:
    """Return the line for several runs together: sums, and green where all are."""
    names = ("faults", "requests", "payments", "acknowledged", "lost", "doubled", "changed", "unknown")
    total: dict[str, object] = {name: sum(int(str(verdict[name])) for verdict in verdicts) for name in names}
    clean = not any(total[name] for name in ("lost", "doubled", "changed"))
    total["upper_bound_95"] = rule_of_three(int(str(total["acknowledged"]))) if clean else None
    total["seed"] = verdicts[0]["seed"]
    total["seconds"] = max(float(str(verdict["seconds"])) for verdict in verdicts)
    total["verdict"] = "green" if all(verdict["verdict"] == "green" for verdict in verdicts) else "red"
    return total


def report(verdict: Verdict) -> str:
    """Return the run in words, and its JSON object as the last line."""
    lines = [
        f"{verdict.database}, seed {verdict.seed}: {verdict.faults} of {verdict.asked} faults in {verdict.seconds:.0f} s, "
        f"{verdict.requests} requests with {verdict.payments} payments, {verdict.acknowledged} of them acknowledged",
        "faults: " + ", ".join(f"{kind} {count}" for kind, count in sorted(verdict.kinds.items())),
        *(f"{name}: {value}" for name, value in verdict.notes.items()),
    ]
    if (bound := verdict.as_dict()["upper_bound_95"]) is not None:
        lines.append(f"0 lost, doubled or changed in {verdict.acknowledged}: fewer than {bound:.1e} a decision at 95 %")
    lines += [f"RED: {reason}" for reason in verdict.reasons]
    return "\n".join([*lines, json.dumps(verdict.as_dict())])
