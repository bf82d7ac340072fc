"""Conversion of the configuration to the typed options of the pipelines.

A module for each kind of task: a search or a chat starts without the packages of a fit, which take seconds to import.
"""
