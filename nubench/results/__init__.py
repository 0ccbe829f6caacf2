"""Result files: what they say, how they are named and read, and handing them in."""
