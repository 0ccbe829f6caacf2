"""Cells of a grid as jobs: of a cluster, or beside each other on this machine; and the table of where they stand."""
