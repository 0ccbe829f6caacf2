"""Tables and figures generated from result files."""
