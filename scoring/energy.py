"""Energy that the GPUs have used, where NVIDIA's management library can be asked (the package nvidia-ml-py)."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

logger = logging.getLogger(__name__)


@cache
def _library() -> Any | None:
    """Return the initialised module, None (said once) where there is nothing to ask."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except ImportError:
        logger.info("no energy figures: the package nvidia-ml-py is not installed")
    except Exception as error:  # the module's own errors, which it makes up at run time
        logger.info("no energy figures: NVIDIA's management library does not answer (%s)", error)
    else:
        return pynvml
    return None


def device_joules() -> dict[str, float]:
    """Return joules since the driver was loaded, of every GPU of the host; empty where they cannot be told.

    Named "gpu:" and the library's own index, which CUDA_VISIBLE_DEVICES does not change.

    A device that does not count energy (before Volta) is left out.
    """
    library = _library()
    if library is None:
        return {}
    found = {}
    for index in range(library.nvmlDeviceGetCount()):
        handle = library.nvmlDeviceGetHandleByIndex(index)
        try:
            found[f"gpu:{index}"] = library.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
        except library.NVMLError as error:
            logger.debug("device %d does not count energy: %s", index, error)
    return found
