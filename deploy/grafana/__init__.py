"""Dashboards for Grafana, declared here and written as JSON."""

from __future__ import annotations
