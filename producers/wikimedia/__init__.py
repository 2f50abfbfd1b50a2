"""Wikimedia's documents and wikitext to pages; no module here knows a file or Kafka."""
