"""Models: releases, training runs, roll-back and retraining."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from admin_ui.access import ROLL_BACK_PERMISSION
from scoring.errors import ScoringError
from scoring.selectors.releases import (
    ArtifactRefused,
    champion,
    releases,
    roll_back_target,
    training_runs,
)
from scoring.services import release_program, start_training


@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """Releases and training runs, the newest first."""
    context = {
        "page": "models",
        "champion": champion(),
        "releases": releases(),
        "runs": training_runs(),
        "may_roll_back": request.user.has_perm(ROLL_BACK_PERMISSION),
    }
    return render(request, "admin_ui/models.html", context)


@permission_required(ROLL_BACK_PERMISSION, raise_exception=True)
def roll_back(request: HttpRequest) -> HttpResponse:
    """GET: say what would happen and ask. POST: do it."""
    if request.method != "POST":
        serving = champion()
        context = {"page": "models", "champion": serving, "target": roll_back_target(serving)}
        return render(request, "admin_ui/models/roll_back.html", context)
    try:
        release = release_program.roll_back(actor=request.user.get_username())
    except (ScoringError, ArtifactRefused) as error:
        messages.error(request, f"Not rolled back: {error}.")
    else:
        messages.success(request, f"Rolled back. {release.version} serves now.")
    return redirect("admin_ui:models")


@require_POST
def retrain(request: HttpRequest) -> HttpResponse:
    """Ask for a training run; the worker takes it from there."""
    run = start_training.start_training(start_training.MANUAL, request.user.get_username())
    messages.success(request, f"Training run {run.slot} is {run.state}; a worker takes it from here.")
    return redirect("admin_ui:models")
