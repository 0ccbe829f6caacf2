"""The static site: pages that work from a folder, without a server and without a request to anywhere else."""
