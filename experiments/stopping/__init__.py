"""Networks that know when to stop, sample by sample."""
