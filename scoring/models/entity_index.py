"""Which decisions belong to a customer, card or merchant."""

from __future__ import annotations

from django.db import models


class EntityDecision(models.Model):
    """An index over the ledger that is written behind it, many decisions at once and in entity order.

    Three ordinary indexes would touch three random pages a decision inside the commit that a caller waits for; they
    cost more than the scoring. `scoring.entity_index` fills this table, and readers let it catch up before they ask.
    """

    class Kind(models.IntegerChoices):
        CUSTOMER = 1
        CARD = 2
        MERCHANT = 3

    pk = models.CompositePrimaryKey("kind", "entity", "seq")
    kind = models.PositiveSmallIntegerField(choices=Kind.choices)
    entity = models.CharField(max_length=64)
    seq = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.entity} {self.seq}"
