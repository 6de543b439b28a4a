"""THE loop: everything that learns is trained by it."""

from __future__ import annotations

from shendu.loop.learner import Learner, named_groups, set_modes
from shendu.loop.session import Session, fit
from shendu.loop.state import INIT, Progress, Setup

__all__ = ["INIT", "Learner", "Progress", "Session", "Setup", "fit", "named_groups", "set_modes"]
