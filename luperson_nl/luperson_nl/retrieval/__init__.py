"""Rankings and what is measured of them, streamed."""
