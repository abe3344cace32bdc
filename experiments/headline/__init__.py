"""The headline: ground truth, rivals, every depth, and what the depth depends on."""
