"""What a person looks at: ArviZ, weights, plots."""
