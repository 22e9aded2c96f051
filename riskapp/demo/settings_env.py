"""Where a demo keeps its things. Set before Django reads its settings, and handed to every child."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_OWNED = (
    "riskapp.sqlite3",
    "riskapp.sqlite3-wal",
    "riskapp.sqlite3-shm",
    "artifacts",
    "celerybeat-schedule",
    "celerybeat-schedule.db",
    "logs",
)


def prepare(*, retrain_seconds: float, maturity_days: float) -> Path:
    """Empty the demo's own folder (below DATA_DIR), point the settings at it, and return the folder for the redis socket.

    Whatever DATABASE_URL or REDIS_URL say outside, a demo works on its own SQLite database and its own redis-server.
    """
    data = Path(os.environ.get("DATA_DIR", ROOT / "var")).resolve() / "demo"
    marker = data / "this folder belongs to make demo"
    if data.exists():
        if not marker.exists() and any(data.iterdir()):
            raise SystemExit(f"{data} was not made by the demo, which would empty it; move it away or set DATA_DIR")
        print(f"Starting over in {data}")
    for name in _OWNED:
        path = data / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    # A unix socket's path may have 107 bytes, which a clone's folder can exceed.
    run_dir = Path(tempfile.mkdtemp(prefix="riskapp-demo-"))
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "riskapp.settings",
        "DATA_DIR": str(data),
        "DATABASE_URL": f"sqlite:///{data / 'riskapp.sqlite3'}",
        "REDIS_URL": f"redis+socket://{run_dir / 'redis.sock'}",
        "RETRAIN_EVERY_SECONDS": str(retrain_seconds),
        "LABEL_MATURITY_DAYS": str(maturity_days),
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
    }
    data.mkdir(parents=True, exist_ok=True)
    marker.touch()
    (data / "logs").mkdir()
    sys.path.insert(0, str(ROOT))
    return run_dir
