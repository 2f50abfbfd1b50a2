"""The stages between Kafka topics: chunk (CPU) and embed (GPU)."""
