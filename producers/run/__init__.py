"""Runs of sources of files: which files, who reads which, what was sent, how far each came."""
