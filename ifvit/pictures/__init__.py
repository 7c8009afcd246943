"""Pictures: of prints, charts with axes, their captions, and the files that they become."""
