"""Which decisions belong to a customer, card or merchant: segments of an index that follows the ledger."""

from __future__ import annotations

from django.db import models


class EntitySegment(models.Model):
    """Where the entities of one bucket stand in one stretch of the ledger; written once, never changed.

    An ordinary index would touch a random page for each party of each decision: 12 KB written for 30 bytes of knowledge.
    Here some thousand decisions share a few rows, which are appended. `scoring.entity_index` writes and reads them.
    """

    class Kind(models.IntegerChoices):
        CUSTOMER = 1
        CARD = 2
        MERCHANT = 3

    pk = models.CompositePrimaryKey("kind", "bucket", "first_seq")
    kind = models.PositiveSmallIntegerField(choices=Kind.choices)
    bucket = models.PositiveSmallIntegerField(help_text="the lowest bits of the entities' hashes")
    first_seq = models.BigIntegerField(help_text="the first decision of the stretch")
    entries = models.BinaryField(help_text="hashes, ascending, then decisions counted from first_seq; uint32 each, little-endian")

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.bucket} from {self.first_seq}"


class EntityIndexMark(models.Model):
    """How far the index reaches: one row."""

    id = models.PositiveSmallIntegerField(primary_key=True)
    seq = models.BigIntegerField(help_text="the last decision that was looked at")

    def __str__(self) -> str:
        return str(self.seq)


class EntityIndexGap(models.Model):
    """Numbers first to last, missing when the mark passed them: never used, or of a commit that was still on its way.

    It stays open until all transactions have ended that were in progress then: those below `horizon`.
    """

    first = models.BigIntegerField(primary_key=True)
    last = models.BigIntegerField()
    horizon = models.BigIntegerField(help_text="PostgreSQL's number of the next transaction when the gap was found")
    since = models.FloatField(help_text="the database's clock then, seconds since 1970")

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"
