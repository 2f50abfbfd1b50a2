"""Code that all stages share. Imports nothing else of ours."""
