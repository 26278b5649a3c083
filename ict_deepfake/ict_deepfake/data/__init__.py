"""What is trained and tested on: identities, pairs that are swapped on the fly, and test sets as people have them on disk."""
