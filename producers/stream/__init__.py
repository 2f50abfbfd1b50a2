"""A wiki's stream of changes."""
