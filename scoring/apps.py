"""The scoring application. Registering it loads no model: the engine is built on first use, in the process that serves."""

from django.apps import AppConfig


class ScoringConfig(AppConfig):
    name = "scoring"

    def ready(self) -> None:
        from scoring import checks  # noqa: F401  registers the system checks
        from scoring.engine import table_rows

        table_rows.prepare_sessions()  # before the first one is opened
