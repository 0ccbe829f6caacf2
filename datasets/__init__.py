"""Data-set cards: one TOML file each."""
