"""Sets of videos as people have them on disk, clips, and the data modules of both trainings."""
