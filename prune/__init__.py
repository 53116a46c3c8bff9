"""Strays and what they leave: killing and removing, each in one small module."""
