"""The analyst's dashboard: server-rendered pages on the selectors and services of scoring."""
