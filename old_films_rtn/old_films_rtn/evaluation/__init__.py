"""Tables of restorations compared with the truth: of networks on degraded clips, and of folders of frames."""
