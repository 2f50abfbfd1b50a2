"""A wiki's Action API: pages as they are now."""
