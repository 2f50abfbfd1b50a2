"""Measurements of a table for its searches: what each leg is worth, what the index finds, how good answers are."""
