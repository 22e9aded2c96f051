"""The live page: what the engine does now, and how right it was as far as that is known."""

from __future__ import annotations

from dataclasses import asdict

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from scoring.selectors.accuracy import MIN_SLICE_FRAUDS, Accuracy, accuracy
from scoring.selectors.decisions import latest_decisions
from scoring.selectors.live import live_figures, live_series
from scoring.selectors.releases import champion_version
from scoring.selectors.savings import cost_policy


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The whole page; its parts renew themselves through the fragments below."""
    context = {
        "page": "live",
        "live": live_figures(),
        "decisions": latest_decisions(),
        "champion_version": champion_version(),
        **_accuracy_context(),
    }
    return render(request, "admin_ui/live.html", context)


@require_safe
def figures(request: HttpRequest) -> HttpResponse:
    """Fragment: throughput, latency, outcome mix and cost."""
    return render(request, "admin_ui/live/figures.html", {"live": live_figures()})


@require_safe
def accuracy_figures(request: HttpRequest) -> HttpResponse:
    """Fragment: figures on matured labels and the money saved."""
    return render(request, "admin_ui/live/accuracy.html", _accuracy_context())


@require_safe
def tables(request: HttpRequest) -> HttpResponse:
    """Fragment: the money saved and the accuracy chart, as tables."""
    return render(request, "admin_ui/live/tables.html", _accuracy_context())


@require_safe
def ticker(request: HttpRequest) -> HttpResponse:
    """Fragment: the latest decisions."""
    return render(request, "admin_ui/live/ticker.html", {"decisions": latest_decisions()})


@require_safe
def engine_series(request: HttpRequest) -> JsonResponse:
    """The columns of the throughput and latency charts; times in Unix seconds."""
    return JsonResponse(asdict(live_series()))


@require_safe
def accuracy_series(request: HttpRequest) -> JsonResponse:
    """The columns of the accuracy chart; times are the middles of the slices, event time in Unix seconds."""
    found = accuracy()
    return JsonResponse(_columns(found) if found else {"at": []})


def _columns(found: Accuracy) -> dict[str, list[float | None]]:
    half, last = found.slice_seconds / 2, found.until.timestamp()
    return {
        "at": [min(s.start.timestamp() + half, last) for s in found.slices],
        "precision": [s.precision for s in found.slices],
        "recall": [s.recall for s in found.slices],
        "average_precision": [s.average_precision for s in found.slices],
    }


def _accuracy_context() -> dict[str, object]:
    return {
        "accuracy": accuracy(),
        "min_slice_frauds": MIN_SLICE_FRAUDS,
        "costs": cost_policy(),
    }
