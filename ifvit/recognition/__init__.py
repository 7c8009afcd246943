"""Enhancement and segmentation of prints: a grey print in, its ridges and where they are out."""
