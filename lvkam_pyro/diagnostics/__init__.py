"""What a person looks at: ArviZ and the weights."""
