"""A grey print in, its ridges, their area and its minutiae out."""
