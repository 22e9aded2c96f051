"""Filters of the lists and the form that closes an alert."""

from __future__ import annotations

from datetime import UTC

from django import forms

from scoring.selectors import alerts, decisions
from scoring.selectors.alerts import AlertFilter
from scoring.selectors.decisions import DecisionFilter
from scoring.services.review_alert import NOTE_MAX_LENGTH

# "mine": what the analyst has claimed.
_ALERT_STATES = [(s, s) for s in alerts.STATES] + [("mine", "claimed by me"), ("all", "all")]


def _outcome_choices(outcomes) -> list[tuple[str, str]]:
    return [("", "any")] + [(str(int(o)), o.label.replace("_", " ")) for o in outcomes]


def _moment_input() -> forms.DateTimeInput:
    return forms.DateTimeInput(attrs={"placeholder": "2026-03-02 12:00"})


class AlertFilterForm(forms.Form):
    """An empty field leaves its condition out; without a state the open alerts are shown."""

    state = forms.ChoiceField(choices=_ALERT_STATES, required=False)
    outcome = forms.TypedChoiceField(choices=_outcome_choices(alerts.OUTCOMES), coerce=int, empty_value=None, required=False)
    min_score = forms.IntegerField(min_value=0, max_value=1000, required=False, label="Score from")
    sort = forms.ChoiceField(choices=[("score", "highest score"), ("newest", "newest")], required=False, label="Order")

    def wanted(self, analyst_id: int) -> AlertFilter:
        """Return the filter of a valid form."""
        state = self.cleaned_data["state"] or "open"
        return AlertFilter(
            state={"all": None, "mine": "claimed"}.get(state, state),
            outcome=self.cleaned_data["outcome"],
            min_score=self.cleaned_data["min_score"],
            assignee_id=analyst_id if state == "mine" else None,
            newest_first=self.cleaned_data["sort"] == "newest",
        )


class DecisionFilterForm(forms.Form):
    """An empty field leaves its condition out; times without an offset are UTC."""

    outcome = forms.TypedChoiceField(choices=_outcome_choices(decisions.OUTCOMES), coerce=int, empty_value=None, required=False)
    min_score = forms.IntegerField(min_value=0, max_value=1000, required=False, label="Score from")
    customer_id = forms.CharField(max_length=64, required=False, label="Customer")
    card_id = forms.CharField(max_length=64, required=False, label="Card")
    merchant_id = forms.CharField(max_length=64, required=False, label="Merchant")
    since = forms.DateTimeField(required=False, label="Occurred from", widget=_moment_input())
    until = forms.DateTimeField(required=False, label="before", widget=_moment_input())
    degraded = forms.ChoiceField(choices=[("", "any"), ("yes", "degraded"), ("no", "normal")], required=False, label="Mode")

    def wanted(self) -> DecisionFilter:
        """Return the filter of a valid form."""
        data = self.cleaned_data
        return DecisionFilter(
            outcome=data["outcome"],
            min_score=data["min_score"],
            customer_id=data["customer_id"] or None,
            card_id=data["card_id"] or None,
            merchant_id=data["merchant_id"] or None,
            degraded={"yes": True, "no": False}.get(data["degraded"]),
            since=data["since"] and data["since"].astimezone(UTC),
            until=data["until"] and data["until"].astimezone(UTC),
        )


class DispositionForm(forms.Form):
    """What the analyst found."""

    disposition = forms.ChoiceField(choices=alerts.DISPOSITIONS, widget=forms.RadioSelect)
    note = forms.CharField(max_length=NOTE_MAX_LENGTH, required=False, widget=forms.Textarea)
