"""What runs beside the server: Prometheus, dashboards."""

from __future__ import annotations
