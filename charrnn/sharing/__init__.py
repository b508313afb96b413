"""A run, put on the Hub: what of it leaves this machine, its model card, the upload."""
