"""Which program serves: the champion release, or the rules alone where there is none yet."""

from __future__ import annotations

import functools
import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from django.conf import settings

from scoring.decisions.answer_form import encoded, form_json, store_form
from scoring.decisions.released_programs import check_registered
from scoring.engine import (
    AnswerForm,
    ArtifactRefused,
    Calibration,
    Device,
    LadderCounters,
    RiskProgram,
    Serving,
    cpu_device,
    default_policy,
    detect_devices,
    load_program,
    load_verify_key,
)
from scoring.features.schema import current_schema
from scoring.learning.artifact_folder import folder_of
from scoring.models import ProgramRelease
from scoring.rules.live import live_rules

# Somebody may have restored the artifact meanwhile.
RETRY_SECONDS = 10.0

logger = logging.getLogger(__name__)
# A large forest takes part of a second to build; decisions go on with the old program meanwhile.
_loader = ThreadPoolExecutor(1, thread_name_prefix="program")


@dataclass(frozen=True)
class LiveProgram:
    """A program that may serve, with what goes with it.

    Attributes:
        rules_alone: the same rules without the model; the program itself where it has none.
        form, form_number, form_body: what its answers share, ready to render, and as it is stored.
        saved_row_us: what leaving out its net saves of each row, measured here; 0 without one.
    """

    program: RiskProgram
    rules_alone: RiskProgram
    form: AnswerForm
    form_number: int
    form_body: str
    saved_row_us: float = 0.0

    @classmethod
    def of(cls, program: RiskProgram) -> LiveProgram:
        """Make ready what the program's answers need."""
        described = form_json(program)
        form = AnswerForm.from_json(described)
        number, body = encoded(described)
        rules_alone = program if program.forest is None else replace(program, forest=None, net=None, blend=None, devices=())
        return cls(program, rules_alone, form, number, body, program.measure_saving())


class ProgramSource:
    """Holds the program in use and follows the champion.

    The new program is verified, compiled, made ready and tried on its golden rows beside the old one; then one
    assignment swaps it in. A release that is refused (changed, unsigned, of another schema, with another answer to a
    golden row) never replaces a working program.
    """

    def __init__(self) -> None:
        self._release_version: str | None = None
        self._loading: tuple[str, Future] | None = None
        self._retry_at = 0.0
        self.swaps = 0
        self.refused: str | None = None  # why the champion is not the program in use
        # One pair, swapped in one assignment: counters that were read between two would count a program twice.
        live = LiveProgram.of(rules_only_program())
        store_form(live.form_number, live.form_body)
        self._serving = live, LadderCounters()

    @property
    def live(self) -> LiveProgram:
        """The program in use, with what its answers share."""
        return self._serving[0]

    @property
    def current(self) -> RiskProgram:
        """The program in use."""
        return self.live.program

    def ladder_counters(self) -> LadderCounters:
        """Return how batches were run since the start, whatever the program; safe to call from any thread."""
        live, retired = self._serving
        found = live.program.executor.counters()
        if (reduced := live.program.reduced_executor) is not None:
            of_reduced = reduced.counters()
            found = replace(found + of_reduced, static_programs=found.static_programs + of_reduced.static_programs)
        return retired + found

    def refresh(self, *, wait: bool = True) -> bool:
        """Follow the champion; return whether the program changed. A refused one is tried again now and then.

        Args:
            wait: with False a new program is built beside the old one, and a later call swaps it in.
        """
        if self._loading is None and not self._begin_loading():
            return False
        version, future = self._loading
        if not wait and not future.done():
            return False
        self._loading = None
        try:
            live = future.result()
            store_form(live.form_number, live.form_body)  # before the first decision that names it
        except Exception as error:
            self._refuse(version, error)
            return False
        self._serving = live, self.ladder_counters()
        self._release_version, self.refused = version, None
        self.swaps += 1
        logger.info("release %s serves now; %s", version, "; ".join(live.program.plan.accounts))
        return True

    def _refuse(self, version: str, error: Exception) -> None:
        self.refused, self._retry_at = str(error) or type(error).__name__, time.monotonic() + RETRY_SECONDS
        logger.error(
            "release %s was refused, %s stays live: %s", version, self.current.version, self.refused,
            exc_info=None if isinstance(error, ArtifactRefused) else error,
        )  # fmt: skip

    def _begin_loading(self) -> bool:
        release = ProgramRelease.objects.filter(state=ProgramRelease.State.CHAMPION).first()
        if release is None or release.version == self._release_version:
            self.refused = None
            return False
        if self.refused and time.monotonic() < self._retry_at:
            return False
        self._loading = release.version, _loader.submit(_load, release)
        return True


def _load(release: ProgramRelease) -> LiveProgram:
    """Return the release's program, verified to be the one that was registered, and ready to serve."""
    folder = folder_of(release.artifact)
    program = load_program(folder, load_verify_key(settings.VERIFY_KEY_FILE), Serving(_devices(), settings.ENGINE_MAX_BATCH))
    check_registered(release, program)
    if program.schema.version != current_schema().version:
        raise ArtifactRefused(f"{release.version} was built for another feature schema; train again")
    return LiveProgram.of(program)


@functools.cache
def _devices() -> tuple[Device, ...]:
    """Return what this process serves on; asked when the first release is loaded, after the last fork."""
    return detect_devices() if settings.ENGINE_ACCELERATORS else (cpu_device(),)


def rules_only_program() -> RiskProgram:
    """Return a program without a model; its decisions say so (mode rules_only)."""
    rules, list_names, ruleset = live_rules()
    return RiskProgram(current_schema(), rules, list_names, None, Calibration.identity(), default_policy(), f"rules-{ruleset}")
