"""Distributions for Pyro: parameter-free, made of callables and tensors."""
