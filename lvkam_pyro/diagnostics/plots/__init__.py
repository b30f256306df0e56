"""Pictures of a run, one idea a file; each function returns its axes and takes them too."""
