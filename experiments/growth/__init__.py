"""Depth found while training, against a sweep of plain networks and a deep one that is cut."""
