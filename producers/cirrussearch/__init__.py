"""CirrusSearch dumps: entries, documents, and which of them become pages."""
