"""The lag of each group, asked of Kafka alone: it needs no replica to be alive. See docs/lag.md."""
