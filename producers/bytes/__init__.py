"""Bytes of files to their entries: blocks, lines, XML elements. Knows no page and no source of files."""
