"""The proof that a table holds what the corpus says, and nothing else: `python -m sinks.verify`."""
