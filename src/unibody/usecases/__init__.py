"""The questions: one TOML file each, in the rooms of the business."""
