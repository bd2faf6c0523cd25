"""COCO instance files as annotation tools write them: one reading, or one message."""
