"""One row a decision, with the columns that the ledger of a plain service has."""

from django.db import models


class PlainDecision(models.Model):
    """A decided transaction."""

    decision_id = models.UUIDField(unique=True)
    transaction_id = models.CharField(max_length=64, unique=True)
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField()
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    type = models.CharField(max_length=16)
    channel = models.CharField(max_length=8)
    customer_id = models.CharField(max_length=64, null=True)
    account_id = models.CharField(max_length=64, null=True)
    card_id = models.CharField(max_length=64, null=True)
    merchant_id = models.CharField(max_length=64, null=True)
    country = models.CharField(max_length=2, null=True)
    transaction = models.JSONField()
    outcome = models.CharField(max_length=8)
    score = models.PositiveSmallIntegerField()
    probability = models.FloatField()

    class Meta:
        app_label = "plain_stack"
