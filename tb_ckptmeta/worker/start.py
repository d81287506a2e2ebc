"""What this process began with; to be imported before TensorFlow, which sets variables. Runs in the worker."""

from __future__ import annotations

import os
import time

STARTED = time.time_ns()
ENVIRONMENT = dict(os.environ)
"""The environment as the caller gave it, but for what is set to fork from a warm process."""
