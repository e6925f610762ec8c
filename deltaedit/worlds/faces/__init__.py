"""Faces: photographs of people who do not exist."""
