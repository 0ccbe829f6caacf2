"""Event files: the HDF5 store and the importers."""
