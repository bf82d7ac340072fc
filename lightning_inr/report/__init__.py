"""Figures, tables and reports of finished runs."""
