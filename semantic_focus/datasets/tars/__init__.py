"""Datasets of tar files in a store that fsspec reaches: S3, Google's, Azure's, or files.

A tar of pictures is brought into a scratch folder, worked on like any folder, and gets one tar of mask files
beside it. fsspec is imported when a URL is given, never otherwise.
"""
