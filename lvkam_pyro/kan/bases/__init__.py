"""The bases: what a univariate function is a sum of, and how it goes on outside its domain."""
