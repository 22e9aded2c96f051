"""Programs on disk: plain JSON and XGBoost's own model file under a signed manifest. Nothing is ever unpickled."""

from inference_core.artifacts.signing import load_or_create_signing_key, load_verify_key
from inference_core.artifacts.store import load_program, save_program

__all__ = ["load_or_create_signing_key", "load_program", "load_verify_key", "save_program"]
