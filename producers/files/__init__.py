"""What all producers of files share: sources, positions, processes, progress, and the account of every entry."""
