"""The learned policy as it is delivered: trained in the simulator, on costs measured there; it goes on learning where it serves.

The file beside this one is written by `make bench-scheduler ARGS="--save-policy inference_core/scheduling/trained_policy.json"`.
What it says is in shares of the capacity and of the target, so that it starts well on other hardware too.
"""

from __future__ import annotations

import json
from pathlib import Path

from inference_core.scheduling.context import ContextReader
from inference_core.scheduling.learned import LearnedConfig, LearnedPolicy

TRAINED_POLICY = Path(__file__).with_name("trained_policy.json")


def trained_policy(config: LearnedConfig | None = None, seed: int = 0, reader: ContextReader | None = None) -> LearnedPolicy:
    """Return a policy that starts from the training in the simulator.

    Raises:
        SchedulingError: the file is damaged.
    """
    return LearnedPolicy.from_json(json.loads(TRAINED_POLICY.read_text()), config, seed, reader)
