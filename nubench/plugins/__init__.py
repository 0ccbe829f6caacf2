"""Plugins: which there are, loading them, and checking what their hooks return."""
