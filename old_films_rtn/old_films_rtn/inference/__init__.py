"""Whole films, shot by shot, from the file to the file: what restoring and colouring share, and each of the two."""
