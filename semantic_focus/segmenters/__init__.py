"""From pictures to regions: the table of segmenters, and one file or folder for each of them.

Knows regions and the vocabulary. A segmenter gets pictures and a `protocol.SegmentRequest`, never a dataset;
its runtime is imported when it is first asked for. `table` names them all and chooses.
"""
