"""The part that holds the labels: read-outs, metrics and statistics."""
