"""The console command `lightning-inr`."""
