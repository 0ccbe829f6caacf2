"""Data sets: their cards, the files that are made from them, and mending those."""
