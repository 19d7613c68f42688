"""Skip what needs OpenVINO GenAI if it is not installed."""

from __future__ import annotations

import pytest

from conself_local.machine.openvino import SUPPORTED, openvino_version

needs_openvino = pytest.mark.skipif(
    openvino_version() is None,
    reason=f"openvino-genai {SUPPORTED} is not installed (pip install 'conself-local[openvino]')",
)
