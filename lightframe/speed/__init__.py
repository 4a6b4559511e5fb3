"""How fast a device applies and trains nets, measured so that the figures of two devices can be compared."""

from lightframe.speed.report import Report
from lightframe.speed.row import Row
from lightframe.speed.setting import Setting
from lightframe.speed.spread import Spread

__all__ = ["Report", "Row", "Setting", "Spread"]
