"""The tables that a commit writes to, and how whole batches of rows get into them past the ORM."""

from __future__ import annotations

from collections.abc import Sequence

from django.core.exceptions import ImproperlyConfigured
from django.db import connection, models, transaction

from scoring.commit_sessions import mark_session
from scoring.engine import table_rows
from scoring.models import Decision, OutboxEvent
from scoring.postgres_copy import copy_in
from scoring.sqlite_session import SqliteSession

FieldType, TableRows = table_rows.FieldType, table_rows.TableRows
_TYPES = {
    "BigIntegerField": FieldType.BIGINT,
    "BinaryField": FieldType.BYTEA,
    "BooleanField": FieldType.BOOLEAN,
    "CharField": FieldType.TEXT,
    "DateTimeField": FieldType.TIMESTAMPTZ,
    "FloatField": FieldType.DOUBLE,
    "PositiveIntegerField": FieldType.INTEGER,
    "PositiveSmallIntegerField": FieldType.SMALLINT,
    "TextField": FieldType.TEXT,
}


class LedgerTable:
    """A table that rows are written to.

    Attributes:
        columns: their names, without the key, which the database gives.
        types: of the columns.
        insert: a statement of SQLite with a mark a column.
        copy: a statement of PostgreSQL that takes a stream of rows.
    """

    def __init__(self, model: type[models.Model]) -> None:
        fields = [field for field in model._meta.concrete_fields if not field.primary_key]
        self.columns = tuple(field.column for field in fields)
        # A foreign key is of the type of what it names.
        self.types = tuple(_TYPES[getattr(field, "target_field", field).get_internal_type()] for field in fields)
        names = ",".join(f'"{name}"' for name in self.columns)  # quoted: "transaction" is a word of SQL
        self.insert = f"INSERT INTO {model._meta.db_table} ({names}) VALUES ({','.join('?' * len(fields))})"
        self.copy = f"COPY {model._meta.db_table} ({names}) FROM STDIN (FORMAT BINARY)"

    def ordered(self, columns: dict[str, table_rows.Column]) -> list[tuple[FieldType, table_rows.Column]]:
        """Return what each column is made of, by name, with its type and in the table's order."""
        if columns.keys() != set(self.columns):
            raise ValueError(f"the table has the columns {self.columns}; got {sorted(columns)}")
        return [(kind, columns[name]) for name, kind in zip(self.columns, self.types, strict=True)]


DECISIONS, OUTBOX = LedgerTable(Decision), LedgerTable(OutboxEvent)
Rows = Sequence[tuple[LedgerTable, TableRows]]


def store_rows(tables: Rows) -> None:
    """Store the rows of all tables in one transaction; on return they are on disk. Within a caller's, as a part of that.

    `transaction.atomic` keeps books for nested blocks and callbacks that a commit of the ledger has none of, which takes
    longer than a small batch's rows; so it is left out where there is no caller's transaction.

    Raises:
        django.db.DatabaseError: nothing was stored.
    """
    store = _copy if connection.vendor == "postgresql" else _insert
    if connection.in_atomic_block:
        with transaction.atomic(), connection.wrap_database_errors:
            store(tables, False)
        return
    connection.ensure_connection()
    with connection.wrap_database_errors:
        store(tables, True)


def _insert(tables: Rows, own_transaction: bool) -> None:
    session = connection.connection
    if not isinstance(session, SqliteSession):
        raise ImproperlyConfigured('SQLite\'s OPTIONS need "factory": SqliteSession, as riskapp/settings.py has it')
    if session.writer is None:
        session.writer = table_rows.open_writer(session)
    session.writer.insert([(table.insert, rows) for table, rows in tables], own_transaction=own_transaction)


def _copy(tables: Rows, own_transaction: bool) -> None:
    mark_session()
    # Where the session is in a transaction, COPY is a part of it; where it is in none, all of one call are one.
    copy_in(connection.connection, [(table.copy, memoryview(rows.stream)) for table, rows in tables])
