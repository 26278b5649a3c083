"""From a video to the crops of its mouth and its sound, on one clock."""
