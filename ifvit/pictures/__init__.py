"""Pictures of prints, charts with axes, their captions, and their files."""
