"""Django settings of the plain stack; the driver passes everything through the environment."""

import os

SECRET_KEY = os.environ["PLAIN_SECRET_KEY"]
API_KEY = os.environ["PLAIN_API_KEY"]
MODEL_FILE = os.environ["PLAIN_MODEL_FILE"]
ALLOWED_HOSTS = ["127.0.0.1"]
DEBUG = False
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
ROOT_URLCONF = "tests.benchmarks.serving.plain_stack.urls"
INSTALLED_APPS = ["rest_framework", "tests.benchmarks.serving.plain_stack"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["PLAIN_DATABASE"],
        # A new connection for each request would cost more than the INSERT.
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            # As in riskapp.settings, so that both sides wait for the same disk.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=30000; "
            "PRAGMA cache_size=-65536; PRAGMA wal_autocheckpoint=8000;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
        },
    }
}
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "UNAUTHENTICATED_USER": None,
}
