"""Reference methods, one file each, found through the entry points that anybody uses."""
