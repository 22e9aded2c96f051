"""What the two stacks of the device-time benchmark compute is the same."""

from __future__ import annotations

import numpy as np
import torch

from tests.benchmarks.device_time.cpu import compare, make_case
from tests.benchmarks.device_time.plain_net import PlainNet


def test_both_stacks_compute_the_same_and_every_part_is_timed():
    case = make_case()
    x = case.rows(500)
    with torch.inference_mode():
        net = PlainNet(case.net)(torch.from_numpy(x)).numpy()
    plain = 0.5 * case.booster.inplace_predict(x, predict_type="margin") + 0.5 * net
    ours = case.program.score(x).margin
    # the net's weights and activations are bytes in ours
    assert np.abs(ours - plain).max() < 0.1 * plain.std()
    times = compare(case, 3, rounds=1)
    assert set(times) == {"ours", "plain", "plain forest", "plain net"} and min(times.values()) > 0
