"""Registration: the map between two prints, from ridges alone, and how well the ridges agree under it.

Read `registrar` first: it aligns pairs. `orientation_search`, `minutia_search` and `module1_search` find guesses
(similarities), `elastic` refines the best ones to a map that follows the skin's distortion, and `agreement` and
`minutia_pairing` measure how well the prints agree under the map.
"""
