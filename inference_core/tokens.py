"""Numbers for strings, and sets of ids; the contract is that of `kernels.token_table`."""

from kernels.token_table import EntityPlan, IdSet, TokenTable, entities_of, open_id_set, open_token_table, spans_of, token_codes

__all__ = ["EntityPlan", "IdSet", "TokenTable", "entities_of", "open_id_set", "open_token_table", "spans_of", "token_codes"]
