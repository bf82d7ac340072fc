"""LightningModules: what a fit minimises."""
