"""How the last pass fills each table."""
