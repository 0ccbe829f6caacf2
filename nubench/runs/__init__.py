"""Runs: what is asked for, one of them, many of them, and what is recorded."""
