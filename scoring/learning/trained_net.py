"""What a run knows of its net once that is trained or left out."""

from __future__ import annotations

from dataclasses import dataclass, field

from scoring.engine import Blend, Calibration, QuantisedNet


@dataclass(frozen=True, slots=True)
class TrainedNet:
    """Attributes:
    net, blend, calibration: None where the net was left out; the calibration is that of the blend's margins.
    figures: for the run's record.
    """

    net: QuantisedNet | None = None
    blend: Blend | None = None
    calibration: Calibration | None = None
    figures: dict = field(default_factory=dict)


NOT_WANTED = TrainedNet(figures={"included": False, "reason": "no net was asked for"})
