"""Policies: who is served first. One small file each; `registry` finds them by name."""
