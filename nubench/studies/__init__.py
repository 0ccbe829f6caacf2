"""Studies: a whole paper's grid and its figures as one file."""
