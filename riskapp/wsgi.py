"""WSGI entry point for the dashboard and the administrative API; the decision path needs the ASGI one."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "riskapp.settings")
application = get_wsgi_application()
