"""The scoring application. Registering it loads no model: the engine is built on first use, in the process that serves."""

from django.apps import AppConfig


class ScoringConfig(AppConfig):
    name = "scoring"

    def ready(self) -> None:
        from scoring import checks  # noqa: F401  registers the system checks
