"""Where knots lie: grids that move and grow, and the exact projection onto them."""
