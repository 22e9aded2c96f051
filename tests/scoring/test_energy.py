"""Energy figures where NVIDIA's library is there, silence (said once) where it is not."""

from __future__ import annotations

import logging
import sys
import types

import pytest

from scoring import energy


@pytest.fixture(autouse=True)
def ask_again():
    energy._library.cache_clear()
    yield
    energy._library.cache_clear()


class Library(types.ModuleType):
    """The functions of pynvml that are used, for two devices of which one counts no energy."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, works: bool = True) -> None:
        super().__init__("pynvml")
        self.works, self.millijoules = works, 12_500

    def nvmlInit(self) -> None:
        if not self.works:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        if handle == 1:
            raise self.NVMLError("Not Supported")
        return self.millijoules


def test_joules_by_device(monkeypatch):
    library = Library()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert energy.device_joules() == {"gpu:0": 12.5}
    library.millijoules += 500
    assert energy.device_joules() == {"gpu:0": 13.0}


@pytest.mark.parametrize("library", [None, Library(works=False)])
def test_nothing_where_there_is_nothing_to_ask_said_once(monkeypatch, caplog, library):
    monkeypatch.setitem(sys.modules, "pynvml", library)  # None makes the import fail
    with caplog.at_level(logging.INFO, logger=energy.__name__):
        assert energy.device_joules() == energy.device_joules() == {}
    (record,) = caplog.records
    assert "no energy figures" in record.getMessage()
