"""Justitia for the frameworks applications are written in; one module for each framework."""
