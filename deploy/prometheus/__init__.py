"""Prometheus' recordings and alerts: rules as code, and the files that they render to."""
