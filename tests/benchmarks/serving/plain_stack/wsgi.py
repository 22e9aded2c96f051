"""What gunicorn serves."""

from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
# Django imports the views, and with them the forest, at the first request; here every worker has them from the start.
import_module(settings.ROOT_URLCONF)
