"""Many cases against one ledger: a parametrised test would start an engine and empty the database for each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any


def each(cases: Iterable[Any]) -> Callable[[Callable], Callable]:
    """Run `test(fixture, *case)` for every case, and fail with all the cases that failed.

    A case that is no tuple is one argument. The test must leave the ledger as it found it.
    """
    listed = list(cases)

    def decorate(test: Callable) -> Callable:
        (fixture, *_) = inspect.signature(test).parameters

        def run(**given: Any) -> None:
            failures = []
            for case in listed:
                try:
                    test(given[fixture], *(case if isinstance(case, tuple) else (case,)))
                except AssertionError as error:
                    failures.append(f"{str(case)[:200]}: {str(error)[:600]}")
            assert not failures, f"{len(failures)} of {len(listed)} cases\n" + "\n".join(failures)

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        run.__signature__ = inspect.Signature([inspect.Parameter(fixture, inspect.Parameter.KEYWORD_ONLY)])
        return run

    return decorate
