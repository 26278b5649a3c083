"""Films in and out: video files, folders of scans, shots."""
