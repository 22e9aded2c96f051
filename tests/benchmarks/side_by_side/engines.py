"""Engines under comparison: how each is opened, called at its best, and reported where it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from tests.benchmarks.peers import failed_installs

Call = Callable[[], Any]


@dataclass(frozen=True)
class Way:
    """One way to call an engine.

    Attributes:
        setting: threads, layout and interface in words; goes into the report.
        make: takes the input and prepares all that need not be done again for each call; what it returns is timed.
        read: turns what a call returned into what is compared between engines; not timed.
    """

    setting: str
    make: Callable[[Any], Call]
    read: Callable[[Any], Any] = lambda result: result


@dataclass(frozen=True)
class Engine:
    """An engine that is ready to run.

    Attributes:
        name: as in the tables.
        version: of the package.
        ways: threads -> the ways to try; the fastest one counts.
        prepare_s: what converting or compiling cost before the first row.
        own_model: True where it runs a model of its own of the same size, not the same forest.
        enter: tells the engine the number of threads where that is global to the process.
        most_rows: of a longer batch only so many rows are timed, for engines that go row by row.
        facts: anything else worth reporting.
    """

    name: str
    version: str
    ways: dict[int, tuple[Way, ...]]
    prepare_s: float = 0.0
    own_model: bool = False
    enter: Callable[[int], None] = lambda threads: None
    most_rows: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """An engine, or one of its measurements, that did not work, with the error."""

    name: str
    stage: str
    error: str


class LeftOut(Exception):
    """An engine is not measured here; the text says why. Reported, and not an error."""


@dataclass
class Lineup:
    """The engines of one case.

    Attributes:
        engines: name -> engine, in the order of measuring.
        failed: what did not work.
        left_out: name -> reason.
    """

    engines: dict[str, Engine] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def fail(self, name: str, stage: str, error: BaseException | str) -> None:
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self.failed.append(Failure(name, stage, text.strip()[:500]))

    def to_json(self) -> dict[str, Any]:
        engines = [
            {"name": e.name, "version": e.version, "prepare_s": round(e.prepare_s, 3), "own_model": e.own_model, **e.facts}
            for e in self.engines.values()
        ]
        return {"engines": engines, "failed": [asdict(f) for f in self.failed], "left_out": self.left_out}


def open_engines(
    openers: Iterable[tuple[str, Callable[[Any], Engine]]], case: Any, say: Callable[[str], None] = lambda text: None
) -> Lineup:
    """Open each engine on the case; one that fails is named with its error and the others go on."""
    lineup, not_installed = Lineup(), failed_installs()
    for name, opener in openers:
        started = time.perf_counter()
        try:
            engine = opener(case)
        except LeftOut as reason:
            lineup.left_out[name] = str(reason)
            continue
        except Exception as error:  # whatever a peer raises belongs into the report
            lineup.fail(name, "open", error)
            if isinstance(error, ImportError) and not_installed:
                lineup.fail(name, "install", "; ".join(f"{package}: {why}" for package, why in not_installed.items()))
            say(f"{name} failed: {lineup.failed[-1].error}")
            continue
        lineup.engines[engine.name] = engine
        say(f"{engine.name} is ready after {time.perf_counter() - started:.1f} s")
    return lineup


def version_of(package: str) -> str:
    return metadata.version(package)
