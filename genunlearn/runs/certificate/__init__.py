"""Deletion certificates: what was asked, by which hashes, how it was tested; issued, checked, measured again."""
