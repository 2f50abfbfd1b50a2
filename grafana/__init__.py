"""Dashboards as code: `python -m grafana.render` writes the JSON that Grafana reads."""
