"""Justitia's SDK (see README.md)."""
