"""Files that are whole or not there: writing beside, checksums, locks, text from outside."""
