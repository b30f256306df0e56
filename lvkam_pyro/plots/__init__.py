"""Pictures, one idea a file; each function returns its axes and takes them too."""
