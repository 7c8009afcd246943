"""Enhancement of a print: its ridges, the region where they are, and its minutiae.

Read `enhancer` first: it is what other packages use. `fields` measures the direction and the period of the ridges,
`gabor` and `pyfing_networks` enhance them, and `minutiae` finds the minutiae.
"""
