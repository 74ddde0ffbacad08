"""Fair sharing of KV memory-time among applications: pure Python, time and service passed in."""
