"""How a graph is captured, against a torch that writes down what is asked of it."""

from __future__ import annotations

import contextlib
import sys
from types import SimpleNamespace

import pytest

from inference_core.runtime.cuda_graphs import capture_graph


class Recorder:
    """The part of torch that a capture uses."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.cuda = SimpleNamespace(stream=self._within("stream"), graph=self._within("graph"), CUDAGraph=lambda: "the graph")

    def say(self, what: str):
        return lambda: self.said.append(what)

    def _within(self, name: str):
        @contextlib.contextmanager
        def block(*_args, **options):
            self.said.append(f"{name} {options.get('capture_error_mode', '')}".strip())
            yield
            self.said.append(f"end of {name}")

        return block


@pytest.mark.parametrize("timed", [False, True])
def test_work_is_run_before_and_then_captured_alone_between_the_events(monkeypatch, timed):
    torch = Recorder()
    monkeypatch.setitem(sys.modules, "torch", torch)
    begin, end = (SimpleNamespace(record=torch.say(name)) for name in ("begin", "end"))
    stream = SimpleNamespace(synchronize=torch.say("wait"))
    assert capture_graph(stream, torch.say("work"), (begin, end) if timed else None) == "the graph"
    captured = ["begin", "work", "end"] if timed else ["work"]
    assert torch.said == ["stream", "work", "work", "wait", "graph thread_local", *captured, "end of graph", "end of stream"]
