"""What became known about a transaction afterwards; append-only."""

from __future__ import annotations

from django.db import models

from scoring.models.decision import Decision


class LabelKind(models.TextChoices):
    """`dispute` is a claim not yet settled: it is kept, and is not a truth to learn from."""

    FRAUD = "fraud"
    LEGITIMATE = "legitimate"
    DISPUTE = "dispute"
    CHARGEBACK = "chargeback"


class LabelSource(models.TextChoices):
    ANALYST = "analyst"
    CUSTOMER = "customer"
    NETWORK = "network"
    CHARGEBACK = "chargeback"
    SIMULATOR = "simulator"


class Label(models.Model):
    """One verdict on one decision. The latest `reported_at` wins; a chargeback counts as fraud."""

    label_id = models.CharField(max_length=64, unique=True)
    decision = models.ForeignKey(Decision, on_delete=models.PROTECT, related_name="labels")
    label = models.CharField(max_length=12, choices=LabelKind.choices)
    fraud_type = models.CharField(max_length=40, blank=True)
    source = models.CharField(max_length=12, choices=LabelSource.choices)
    confidence = models.FloatField(default=1.0)
    occurred_at = models.DateTimeField(help_text="event time of the labelled transaction")
    reported_at = models.DateTimeField(help_text="event time at which the verdict became known")
    received_at = models.DateTimeField()
    actor = models.CharField(max_length=80, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(confidence__gte=0) & models.Q(confidence__lte=1), name="label_confidence_range"
            ),
        ]
        indexes = [models.Index(fields=["decision", "reported_at"], name="label_decision_time")]

    def __str__(self) -> str:
        return f"{self.label} by {self.source}"
