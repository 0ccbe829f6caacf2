"""Sparse convolution on voxel events: coordinate maps, kernels and the engines behind one interface."""
