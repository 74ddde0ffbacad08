"""Predicting what an application will cost before it has run."""
