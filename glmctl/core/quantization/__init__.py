"""Weights in few bits: the rules, and the linears that compute with them. Imports model, data."""
