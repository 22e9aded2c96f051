"""Numbers for strings and entities, and sets of ids; the contract is that of `kernels.token_table`."""

from kernels.token_table import (
    EntityPlan,
    EntityTables,
    IdSet,
    TokenTable,
    open_entity_tables,
    open_id_set,
    open_token_table,
    spans_of,
)

__all__ = [
    "EntityPlan",
    "EntityTables",
    "IdSet",
    "TokenTable",
    "open_entity_tables",
    "open_id_set",
    "open_token_table",
    "spans_of",
]
