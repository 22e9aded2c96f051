"""The last step of a run: one transaction that registers the challenger and says what becomes of it."""

from __future__ import annotations

from django.utils import timezone

from scoring.learning.gates import PROMOTE, REFUSE, SKIP, Verdict
from scoring.models import TrainingRun
from scoring.services.release_program import current_champion, make_champion, refuse, register

_STATE_AFTER = {
    PROMOTE: TrainingRun.State.PROMOTED,
    REFUSE: TrainingRun.State.REFUSED,
    SKIP: TrainingRun.State.SKIPPED,
}


def conclude(run: TrainingRun, verdict: Verdict) -> None:
    """Close the run; call it inside `lease.fenced`, so that all of this is stored for the lease's holder or not at all."""
    verdict = _unless_champion_changed(run, verdict)
    if verdict.decision != SKIP:
        _release(run, verdict)
    run.figures = run.figures | ({"gate": verdict.figures} if verdict.figures else {})
    run.state, run.reason = _STATE_AFTER[verdict.decision], verdict.reason
    run.finished_at, run.lease_expires_at, run.lease_owner = timezone.now(), None, ""
    run.save()


def _release(run: TrainingRun, verdict: Verdict) -> None:
    actor, artifact = f"run:{run.slot}", run.figures["artifact"]
    run.challenger = register(
        version=artifact["version"],
        manifest_sha256=artifact["manifest_sha256"],
        parent=run.champion,
        figures={"training": run.figures["training"], "gate": verdict.figures},
        actor=actor,
    )
    if verdict.decision == PROMOTE:
        make_champion(run.challenger, actor=actor, reason=verdict.reason)
    else:
        refuse(run.challenger, actor=actor, reason=verdict.reason)


def _unless_champion_changed(run: TrainingRun, verdict: Verdict) -> Verdict:
    """The comparison was with a certain champion; if another one decides by now, it says nothing about that one."""
    now_live = current_champion()
    if verdict.decision != PROMOTE or (now_live.pk if now_live else None) == run.champion_id:
        return verdict
    reason = f"the champion changed while this run worked, to {now_live.version if now_live else 'none'}; run it again"
    return Verdict(REFUSE, reason, verdict.figures)
