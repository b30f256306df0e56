"""Where a training starts."""
