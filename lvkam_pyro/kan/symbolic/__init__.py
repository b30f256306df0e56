"""Learned functions as formulas that can be read, printed and trained on."""
