"""Mapping files (TOML) of the layouts that are recognised by their columns."""
