"""Pictures of the dashboards with a Prometheus' real data: `python -m grafana.picture`."""
