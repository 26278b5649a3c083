"""Images and measurements, as people have them on disk, and how they become batches of (y, g)."""
