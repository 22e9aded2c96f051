"""The quantised net that stands beside the forest: what it is, how it is blended, and how it is stored."""

from inference_core.net.blend import Blend
from inference_core.net.quantised import NetLayer, QuantisedNet

__all__ = ["Blend", "NetLayer", "QuantisedNet"]
