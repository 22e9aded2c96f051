"""Wiring only: settings, URLs, ASGI/WSGI entry points and the Celery application."""

from riskapp.celery import app as celery_app

__all__ = ["celery_app"]
