"""The default segmenter: small networks for faces, poses and persons, on any CPU, offline.

`weights` brings the networks, `networks` runs them; detect and persons find who is there, colour, guess,
features and parts tell face, hair, clothing and skin apart; `segmenter` is what the table names.
"""
