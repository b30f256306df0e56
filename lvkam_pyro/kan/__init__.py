"""KAN functions: torch modules without probability."""
