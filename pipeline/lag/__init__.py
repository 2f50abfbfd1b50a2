"""How far each group is behind, asked of Kafka alone: it needs no replica to be alive. See docs/lag.md."""
