"""Weights from the model hub: asked for by the names of our own table, checked, and complete or not there.

errors    what can go wrong, in words and by kind
listing   what the hub has of a model: files, sizes, digests
transfer  one file: goes on where it stopped, stalls in words, checked
fetch     a model: where it goes, what is there already, the move into place
jobs      fetches in the background, their progress, their end
"""
