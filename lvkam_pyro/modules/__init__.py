"""Pyro modules that own the parameters of an LV-KAM."""
