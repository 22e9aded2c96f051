"""On the CPU: our program beside a plain stack.

The plain stack is what a bank's own team would write first: the same forest in XGBoost (`inplace_predict`), and the same net in
PyTorch, eager and dense in float32, with its encoding worked out in tensors. Ours is one call: bins, forest, net, and the four
largest contributions, which the plain stack does not give. One thread each, rounds in turn, the best of them. The number of
devices that a fixed throughput needs is in proportion to these times. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import xgboost

from inference_core import Blend, Calibration, FeatureColumn, FeatureSchema, Forest, RiskProgram, default_policy
from inference_core.modalities import BinEncoding, NetShape, TabularNet, encoding_of_forest, export_net
from tests.benchmarks.device_time.plain_net import PlainNet
from tests.benchmarks.net_kernels.measure import best_us

FEATURES, TREES, DEPTH = 64, 200, 6
BATCHES = (1, 8, 64, 1024)
GOAL = 0.55


@dataclass(frozen=True, eq=False)
class Case:
    """A forest and a net over the same rows, as both stacks have them."""

    booster: xgboost.Booster
    net: TabularNet
    program: RiskProgram

    def rows(self, count: int) -> np.ndarray:
        """Return [count, FEATURES] float32, one value in twenty missing."""
        return rows(count, seed=1)


def rows(count: int, seed: int) -> np.ndarray:
    """Return [count, FEATURES] float32, one value in twenty missing."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((count, FEATURES), np.float32)
    x[random.random(x.shape) < 0.05] = np.nan
    return x


def make_case(shape: NetShape | None = None) -> Case:
    """Train a forest on random rows and put a net of the usual size, with weights as drawn, beside it."""
    names = tuple(f"f{i}" for i in range(FEATURES))
    x = rows(20_000, seed=0)
    known = np.nan_to_num(x)
    labels = known[:, 0] * known[:, 1] + known[:, 2:10].sum(1) + np.random.default_rng(2).standard_normal(len(x)) > 2
    settings = {"max_depth": DEPTH, "eta": 0.1, "objective": "binary:logistic", "nthread": 2, "max_bin": 64}
    booster = xgboost.train(settings, xgboost.QuantileDMatrix(x, labels, feature_names=list(names), max_bin=64), TREES)
    forest = Forest.from_xgboost(bytes(booster.save_raw("ubj")), names)
    encoding: BinEncoding = encoding_of_forest(forest.trees, names, x)
    net = TabularNet(encoding, shape or NetShape(), seed=3)
    columns = [names.index(name) for name in encoding.feature_names]
    net.calibrate(torch.from_numpy(encoding.bins(x[:2_000, columns])))
    schema = FeatureSchema(tuple(FeatureColumn(name, "number", name) for name in names))
    both = {"net": export_net(net), "blend": Blend(0.5, 0.5)}
    program = RiskProgram(schema, (), (), forest, Calibration.identity(), default_policy(), "bench", **both)
    return Case(booster, net, program)


def compare(case: Case, size: int, rounds: int) -> dict[str, float]:
    """Return microseconds a batch of each stack, and of the plain one's parts."""
    x = case.rows(size)
    plain_net, given = PlainNet(case.net).eval(), torch.from_numpy(x)
    case.booster.set_param({"nthread": 1})

    def forest() -> np.ndarray:
        return case.booster.inplace_predict(x, predict_type="margin", validate_features=False)

    def net() -> torch.Tensor:
        with torch.inference_mode():
            return plain_net(given)

    calls: dict[str, Callable[[], object]] = {
        "ours": lambda: case.program.score(x).margin,
        "plain": lambda: 0.5 * forest() + 0.5 * net().numpy(),
        "plain forest": forest,
        "plain net": net,
    }
    return best_us(calls, rounds)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table and one line of JSON; 1 where the goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.device_time", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each engine (default 15)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    case, saved = make_case(), {}
    print("| rows a batch | ours, s | plain stack, s | its forest | its net | saved |\n| --- | --- | --- | --- | --- | --- |")
    for size in BATCHES:
        seconds = {name: us / size for name, us in compare(case, size, options.rounds).items()}  # us a row = s a million
        saved[size] = 1 - seconds["ours"] / seconds["plain"]
        told = " | ".join(f"{seconds[name]:.2f}" for name in ("ours", "plain", "plain forest", "plain net"))
        print(f"| {size:,} | {told} | {saved[size]:.1%} |")
    print(json.dumps({"device_time_saved": {str(size): round(of, 4) for size, of in saved.items()}, "goal": GOAL}))
    return 0 if min(saved.values()) >= GOAL else 1
