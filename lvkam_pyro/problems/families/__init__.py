"""Families of problems: each is a function of a seed, which draws how hard its problem is."""
