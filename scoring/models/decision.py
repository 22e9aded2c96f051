"""The ledger: one row a decided transaction, written once and never changed."""

from __future__ import annotations

from django.db import models


class Outcome(models.IntegerChoices):
    """What the bank should do; a larger number is stricter, and the strictest demand wins."""

    APPROVE = 0, "approve"
    STEP_UP = 1, "step_up"
    REVIEW = 2, "review"
    HOLD = 3, "hold"
    DECLINE = 4, "decline"


# The mode of history that was recorded after the fact without a model: nothing decided on it, nobody acted.
BACKFILL = "backfill"


class AnswerForm(models.Model):
    """What is the same for all answers of one program: rules, texts, versions. Written once, never changed.

    Its number is made of its digest, so that a number means the same form in every database.
    """

    id = models.BigIntegerField(primary_key=True, help_text="the first 63 bits of the digest")
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the body")
    body = models.TextField(help_text="JSON, as scoring.engine.AnswerForm reads it")

    def __str__(self) -> str:
        return self.digest[:12]


class Decision(models.Model):
    """A committed decision with all that is needed to explain, replay and learn from it.

    `seq` is the order of arrival, in which the feature state is rebuilt. The answer is not stored but rendered, byte for
    byte, from the columns and the form that it was given by: `scoring.decisions.stored_answer`.
    """

    seq = models.BigAutoField(primary_key=True)
    decision_id = models.CharField(max_length=36, unique=True)
    transaction_id = models.CharField(max_length=64, unique=True)
    occurred_at = models.DateTimeField(db_index=True)
    received_at = models.DateTimeField()
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    type = models.CharField(max_length=16)
    channel = models.CharField(max_length=8)
    customer_id = models.CharField(max_length=64, null=True)
    card_id = models.CharField(max_length=64, null=True)
    merchant_id = models.CharField(max_length=64, null=True)
    country = models.CharField(max_length=2, null=True)
    transaction = models.TextField(help_text="the accepted transaction, canonical JSON")
    outcome = models.PositiveSmallIntegerField(choices=Outcome.choices)
    score = models.PositiveSmallIntegerField(help_text="0-1000")
    probability = models.FloatField(null=True, help_text="calibrated fraud probability; null where the model gave none")
    margin = models.FloatField(null=True, help_text="the forest's raw log-odds")
    features = models.BinaryField(help_text="one float32 a feature of the schema, packed")
    feature_schema = models.CharField(max_length=16)
    program_version = models.CharField(max_length=64)
    degraded = models.BooleanField(default=False)
    mode = models.CharField(max_length=24, default="normal", help_text="the gravest of the stamps, or normal")
    stamps = models.PositiveIntegerField(default=0, help_text="what was out of the ordinary, a bit each")
    engine_us = models.PositiveIntegerField(help_text="time inside the engine before the commit, microseconds")
    form = models.ForeignKey(AnswerForm, null=True, on_delete=models.PROTECT, db_index=False, db_constraint=False)
    evidence = models.BinaryField(null=True, help_text="with the other columns and the form, the answer byte for byte")
    response = models.TextField(null=True, help_text="the answer itself, JSON, where there is no form to render it by")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(amount_minor__gte=0), name="decision_amount_not_negative"),
            models.CheckConstraint(condition=models.Q(score__lte=1000), name="decision_score_range"),
        ]
        indexes = [
            # Few rows are stricter than approve, and lists of them are asked for all the time.
            models.Index(fields=["outcome", "seq"], name="decision_stopped", condition=models.Q(outcome__gt=0)),
        ]

    def __str__(self) -> str:
        return f"{self.decision_id} {self.get_outcome_display()}"
