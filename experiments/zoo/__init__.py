"""Residual networks of other people, adopted: is everything found, and is everything right?"""
