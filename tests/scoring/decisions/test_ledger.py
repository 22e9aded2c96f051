"""The ledger's row is the table's."""

from __future__ import annotations

from scoring.ledger import LedgerRow
from scoring.models import Decision


def test_a_row_has_the_columns_of_the_table_in_their_order():
    columns = [field.column for field in Decision._meta.concrete_fields if not field.primary_key]
    assert list(LedgerRow._fields) == columns
