"""The table: its one writer, its readers and its proof."""
