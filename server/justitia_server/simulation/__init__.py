"""Workloads, and running them: on vLLM's scheduler with modelled step times, or live."""
