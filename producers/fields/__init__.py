"""Records with fields, such as JSON lines and Parquet rows, as pages."""
