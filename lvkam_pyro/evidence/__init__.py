"""Estimators of the log evidence of each datum."""
