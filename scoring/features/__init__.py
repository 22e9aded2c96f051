"""Features: what is declared (schema), how a batch looks (columns), and the state that answers (state)."""
