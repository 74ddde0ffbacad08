"""Justitia's server: vLLM with the fair order of whole applications built in."""
