"""Snapshots that follow each other: what changed is sent, what is gone is deleted."""
