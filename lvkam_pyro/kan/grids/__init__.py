"""Grids of knots that move and grow, and the exact projection onto them."""
