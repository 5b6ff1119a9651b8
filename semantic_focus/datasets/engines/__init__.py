"""Who makes the mask files of a run: this process, several processes, or workers of a Ray cluster.

`plan` knows what is due, what was lost and what became of each picture; it is the same for all of them. An
engine only carries pictures to where they are segmented, which is always done by `pipeline`.
"""
