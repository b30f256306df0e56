"""Models with data whose evidence is known exactly: what estimators are validated on."""
