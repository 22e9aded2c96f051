"""Django settings. Every value that an operator may change comes from the environment; docs/settings.md lists them all."""

from __future__ import annotations

from pathlib import Path

import dj_database_url

from riskapp.env import env_bool, env_choice, env_float, env_int, env_path, env_secret, env_str
from scoring.sqlite_session import SqliteSession

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = env_path("DATA_DIR", BASE_DIR / "var")
DATA_DIR.mkdir(parents=True, exist_ok=True)

SECRET_KEY = env_secret("SECRET_KEY", DATA_DIR / "secret_key")
DEBUG = env_bool("DEBUG", False)
ALLOWED_HOSTS = env_str("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]").split(",")
SECURE_COOKIES = env_bool("SECURE_COOKIES", False)
CSRF_TRUSTED_ORIGINS = [o for o in env_str("CSRF_TRUSTED_ORIGINS", "").split(",") if o]

# --- stores -------------------------------------------------------------------------------------------------------
DATABASE_URL = env_str("DATABASE_URL", f"sqlite:///{DATA_DIR / 'riskapp.sqlite3'}")
# CONN_MAX_AGE stays 0: scoring.database_connection says why, and how the engine keeps its connection all the same.
DATABASES = {"default": dj_database_url.parse(DATABASE_URL)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # FULL: the commit is on disk before it is reported, which the decision path promises.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=30000; "
        # The engine's checkpointer keeps the log short; this is for processes without one, and for when it fails.
        "PRAGMA cache_size=-65536; PRAGMA wal_autocheckpoint=250000;",
        # Take the write lock at BEGIN, so that two writers queue instead of failing half way.
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "factory": SqliteSession,
    }
REDIS_URL = env_str("REDIS_URL", f"redis+socket://{DATA_DIR / 'redis.sock'}")
ARTIFACT_DIR = env_path("ARTIFACT_DIR", DATA_DIR / "artifacts")
SIGNING_KEY_FILE = env_path("SIGNING_KEY_FILE", DATA_DIR / "signing_key.pem")
# Where only the public half may be present (the scoring process of a larger deployment).
VERIFY_KEY_FILE = env_path("VERIFY_KEY_FILE", DATA_DIR / "verify_key.pem")

# --- limits of the public API -------------------------------------------------------------------------------------
MAX_BODY_BYTES = env_int("MAX_BODY_BYTES", 65_536, at_least=1024)
MAX_BATCH_BODY_BYTES = env_int("MAX_BATCH_BODY_BYTES", 16_777_216, at_least=65_536)
MAX_BATCH_ITEMS = env_int("MAX_BATCH_ITEMS", 10_000, at_least=1)
MAX_FUTURE_SECONDS = env_int("MAX_FUTURE_SECONDS", 300)
API_KEY_CACHE_SECONDS = env_float("API_KEY_CACHE_SECONDS", 5.0)
FAST_LANE = env_bool("FAST_LANE", True)

# --- engine -------------------------------------------------------------------------------------------------------
ENGINE_MAX_BATCH = env_int("ENGINE_MAX_BATCH", 512, at_least=1)
TARGET_LATENCY_MS = env_float("TARGET_LATENCY_MS", 20.0)
MAX_QUEUE_DELAY_US = env_int("MAX_QUEUE_DELAY_US", 0)
LIVE_DEADLINE_MS = env_float("LIVE_DEADLINE_MS", 1_000.0)
BULK_DEADLINE_MS = env_float("BULK_DEADLINE_MS", 30_000.0)
SCHEDULING_POLICY = env_choice("SCHEDULING_POLICY", "expected_completion", ("expected_completion", "learned"))
ENGINE_ACCELERATORS = env_bool("ENGINE_ACCELERATORS", False)
ENGINE_QUEUE_LIMIT = env_int("ENGINE_QUEUE_LIMIT", 20_000, at_least=1)
ENGINE_REFRESH_SECONDS = env_float("ENGINE_REFRESH_SECONDS", 1.0, at_least=0.05)
# Where the feature windows of several engine processes get their order of events from: nowhere (one process), or Redis.
STATE_STORE = env_choice("STATE_STORE", "local", ("local", "redis"))
STATE_STORE_URL = env_str("STATE_STORE_URL", REDIS_URL)
STATE_STORE_BUDGET_MS = env_float("STATE_STORE_BUDGET_MS", 5.0, at_least=0.1)
STATE_STORE_MEMBER_SECONDS = env_float("STATE_STORE_MEMBER_SECONDS", 10.0, at_least=1.0)
STATE_STORE_LOG_MB = env_int("STATE_STORE_LOG_MB", 256, at_least=1)
MAX_LATENESS_DAYS = env_int("MAX_LATENESS_DAYS", 7)
STATE_SNAPSHOT_SECONDS = env_float("STATE_SNAPSHOT_SECONDS", 300.0)
OFFLINE_LIMIT_MINOR = env_int("OFFLINE_LIMIT_MINOR", 0, at_least=0)

# --- protection ---------------------------------------------------------------------------------------------------
RATE_LIMIT_PER_SECOND = env_float("RATE_LIMIT_PER_SECOND", 0.0)
RATE_LIMIT_BURST = env_int("RATE_LIMIT_BURST", 0)
# Processes that share their feature state share the limits as well.
RATE_LIMIT_REDIS_URL = STATE_STORE_URL if STATE_STORE == "redis" else ""
RATE_LIMIT_PROCESSES = env_int("RATE_LIMIT_PROCESSES", 1, at_least=1)
LOGIN_ATTEMPTS_PER_MINUTE = env_int("LOGIN_ATTEMPTS_PER_MINUTE", 5)
CONCURRENCY_LIMIT = env_int("CONCURRENCY_LIMIT", 0)
OVERLOAD_REFUSALS_PER_SECOND = env_float("OVERLOAD_REFUSALS_PER_SECOND", 4_000.0)
DISK_FLOOR_BYTES = env_int("DISK_FLOOR_BYTES", 268_435_456)
CLOCK_STEP_SECONDS = env_float("CLOCK_STEP_SECONDS", 0.5, at_least=0.01)
CLOCK_STAMP_SECONDS = env_float("CLOCK_STAMP_SECONDS", 60.0)
ALLOW_UNSAFE_DURABILITY = env_bool("ALLOW_UNSAFE_DURABILITY", False)

# --- metrics and logs ---------------------------------------------------------------------------------------------
METRICS_DIR = DATA_DIR / "metrics"
SAMPLE_RETENTION_DAYS = env_float("SAMPLE_RETENTION_DAYS", 7.0, at_least=0.01)
LOG_DECISIONS = env_bool("LOG_DECISIONS", False)

# --- learning -----------------------------------------------------------------------------------------------------
LABEL_MATURITY_DAYS = env_float("LABEL_MATURITY_DAYS", 7.0)
RETRAIN_EVERY_SECONDS = env_float("RETRAIN_EVERY_SECONDS", 86_400.0, at_least=1.0)
RETRAIN_LEASE_SECONDS = env_float("RETRAIN_LEASE_SECONDS", 15.0, at_least=1.0)
SWEEP_EVERY_SECONDS = env_float("SWEEP_EVERY_SECONDS", 5.0, at_least=0.2)
OUTBOX_EVERY_SECONDS = env_float("OUTBOX_EVERY_SECONDS", 1.0, at_least=0.1)

# --- cost of running, shown on the dashboard ------------------------------------------------------------------------
CORE_HOUR_PRICE = env_float("CORE_HOUR_PRICE", 0.045)
COST_CURRENCY = env_str("COST_CURRENCY", "EUR")

# --- Django -------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "scoring",
    "admin_ui",
    "riskapp",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "riskapp.urls"
ASGI_APPLICATION = "riskapp.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "admin_ui:login"
LOGIN_REDIRECT_URL = "admin_ui:live"
LOGOUT_REDIRECT_URL = "admin_ui:login"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_COOKIES
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_AUTOREFRESH = DEBUG
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["scoring.api.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["scoring.api.permissions.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["scoring.api.throttling.KeyThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["scoring.api.renderers.JsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["scoring.api.parsers.BoundedJsonParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "scoring.api.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Risk scoring API",
    "DESCRIPTION": "Send a payment, receive one durable decision: a score, an outcome and the reasons.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [
        "rest_framework.authentication.SessionAuthentication",
        "scoring.api.authentication.ApiKeyAuthentication",
    ],
    "SERVE_PERMISSIONS": ["scoring.api.permissions.KeyOrSession"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": ["scoring.api.openapi.add_components"],
}

# --- Celery -------------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 900}
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "celerybeat-schedule")
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE = {
    "retrain": {"task": "scoring.retrain", "schedule": RETRAIN_EVERY_SECONDS, "options": {"expires": RETRAIN_EVERY_SECONDS}},
    "sweep-leases": {
        "task": "scoring.sweep_leases",
        "schedule": SWEEP_EVERY_SECONDS,
        "options": {"expires": 4 * SWEEP_EVERY_SECONDS},
    },
    "drain-outbox": {
        "task": "scoring.drain_outbox",
        "schedule": OUTBOX_EVERY_SECONDS,
        "options": {"expires": 4 * OUTBOX_EVERY_SECONDS},
    },
    "prune-samples": {"task": "scoring.prune_samples", "schedule": 86_400.0, "options": {"expires": 86_400.0}},
}

LOG_LEVEL = env_str("LOG_LEVEL", "INFO")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "riskapp.log_format.JsonFormatter"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {"django.server": {"level": "WARNING"}},
}
