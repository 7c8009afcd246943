"""What is kept on disk: files that are complete or absent, states, caches, long work in blocks."""
