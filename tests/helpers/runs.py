"""Overrides of runs of a few seconds."""

# The smallest run that has all its parts: 4x4 cells, four drawn fingers, a network of a few thousand weights. Leave its
# number of steps alone: another one is another schedule, and so another program to compile.
TINY = [
    "debug=smoke",
    "data=folder",
    "data.image_size=64",
    "data.ppi=250",
    "data.file_ppi=250",
    "data.val_fingers=2",
    "data.pairs.elastic_px=1",
    "dense.stem_width=4",
    "dense.stage_widths=[4,8,8]",
    "dense.d_model=8",
    "dense.num_heads=2",
    "dense.threshold=0.0",  # so that a network which has learnt nothing finds matches too
    "trainer.val_pairs=4",
    "trainer.max_steps=4",
    "trainer.checkpoint_every=2",
    "trainer.validate_every=4",
    "trainer.log_every=1",
]
TINY_MATCHER = [
    "debug=smoke", "stage=matcher", "data.fingers=6", "data.val_fingers=2", "data.pairs.impostor_share=0.5",
    "trainer.max_steps=4", "trainer.checkpoint_every=2", "trainer.validate_every=4", "trainer.log_every=1",
    "trainer.val_pairs=8", "data.pairs.elastic_px=1",
    "matcher.enhancement=none",
]  # fmt: skip
FINE = (
    "dense.backbone=resnet_fpn_8_2",
    "dense.stem_width=8",
    "dense.stage_widths=[8,8,8]",
    "dense.fine=loftr",
    "dense.use_loftr=true",
    "loss.fine_matches=8",
)
