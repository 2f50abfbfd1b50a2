"""What Prometheus records and when it calls: rules as code, and the files that they render to."""
