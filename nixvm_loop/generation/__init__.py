"""Generations on disk: numbered, rooted, and made current by one rename."""
