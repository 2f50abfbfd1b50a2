"""Manifests for Kubernetes, and what renders those of them that follow from the code."""
