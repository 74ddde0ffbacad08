"""The HTTP side: hints in, the state of applications out."""
